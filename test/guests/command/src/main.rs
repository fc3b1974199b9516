//! A command: prints its arguments and environment to stdout, a line to stderr, then does what the variables
//! say: `READ` (its input comes back), `SHOW` (a file to print), `CALL` (a URL to call; where it is a component), `SLEEP`
//! (milliseconds), `EXIT` (a code).
//! Built for wasip1 it is a core module with `_start`; for wasip2, a component.

use std::time::Duration;

fn main() {
    for (index, argument) in std::env::args().enumerate() {
        println!("argument {index}: {argument}");
    }
    for (name, value) in std::env::vars() {
        println!("variable {name}={value}");
    }
    eprintln!("the command has run");
    if std::env::var("READ").is_ok() {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            println!("read: {line}");
        }
    }
    if let Ok(path) = std::env::var("SHOW") {
        match std::fs::read_to_string(path) {
            Ok(text) => println!("shown: {text}"),
            Err(error) => println!("not shown: {error}"),
        }
    }
    #[cfg(target_env = "p2")]
    if let Ok(url) = std::env::var("CALL") {
        println!("called: {}", call(&url));
    }
    if let Some(milliseconds) = number("SLEEP") {
        std::thread::sleep(Duration::from_millis(u64::from(milliseconds)));
    }
    println!("done");
    std::process::exit(number("EXIT").map_or(0, i32::from));
}

fn number(name: &str) -> Option<u16> {
    std::env::var(name).ok()?.parse().ok()
}

/// The status and body of the answer, or the error.
#[cfg(target_env = "p2")]
fn call(url: &str) -> String {
    match guest_http::Call::get(url) {
        Ok(response) => {
            let body = guest_http::Reader::of_response(&response).read_to_end();
            let body = body.unwrap_or_default();
            format!("{} {}", response.status(), String::from_utf8_lossy(&body))
        }
        Err(error) => format!("{error:?}"),
    }
}
