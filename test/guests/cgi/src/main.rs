//! A CGI program for the wagi executor. It shows its arguments, environment and input, but at a path that ends in
//! `/moved`, `/gone`, `/nothing` (no response at all) and `/trap`.

use std::io::Read;

fn main() {
    let path = std::env::var("PATH_INFO").unwrap_or_default();
    match path.rsplit('/').next() {
        Some("moved") => println!("Location: /elsewhere\n"),
        Some("gone") => print!("Status: 410 Gone\r\nContent-Type: text/plain\r\n\r\ngone\n"),
        Some("nothing") => {}
        Some("trap") => std::process::abort(),
        _ => show(),
    }
}

fn show() {
    println!("Content-Type: text/plain\nX-From: cgi\n");
    for (index, argument) in std::env::args().enumerate() {
        println!("argument {index}: {argument}");
    }
    for (name, value) in std::env::vars() {
        println!("{name}={value}");
    }
    let mut input = String::new();
    if std::io::stdin().read_to_string(&mut input).is_ok() {
        println!("input: {input}");
    }
}
