//! A dependency that tries to reach what it is asked for, by every way that a component has out of itself.

use std::fmt::Debug;
use std::net::{TcpStream, ToSocketAddrs};

use guest_http::{Call, Reader};
use wasip2::http::types::{Fields, Method};

mod bindings {
    #![allow(missing_docs, reason = "made by a macro")]
    wit_bindgen::generate!({
        path: ["../../../runtime/bindings/wit/fermyon-spin-2.0.0", "wit"],
        inline: "
            package test:guest;
            world guest {
                include test:reach/reaching@1.0.0;
                import fermyon:spin/key-value@2.0.0;
                import fermyon:spin/llm@2.0.0;
                import fermyon:spin/redis@2.0.0;
                import fermyon:spin/sqlite@2.0.0;
                import fermyon:spin/variables@2.0.0;
            }
        ",
        generate_all,
    });
}

use bindings::fermyon::spin::{key_value, llm, redis, sqlite, variables};

struct Reaching;

bindings::export!(Reaching with_types_in bindings);

impl bindings::exports::test::reach::reach::Guest for Reaching {
    fn attempt(what: String, at: String) -> Result<String, String> {
        match what.as_str() {
            "environment" => environment(&at),
            "file" => std::fs::read_to_string(at).map_err(said),
            "write" => std::fs::write(at, "written")
                .map(|()| "written".to_owned())
                .map_err(said),
            "call" => call(&at),
            "tcp" => TcpStream::connect(at)
                .map(|_| "connected".to_owned())
                .map_err(said),
            "name" => resolve(&at),
            "store" => key_value::Store::open(&at)
                .map(|_| "opened".to_owned())
                .map_err(said),
            "sqlite" => sqlite::Connection::open(&at)
                .map(|_| "opened".to_owned())
                .map_err(said),
            "redis" => redis::Connection::open(&at)
                .map(|_| "connected".to_owned())
                .map_err(said),
            "model" => llm::infer(&at, "Who is there?", None)
                .map(|answer| answer.text)
                .map_err(said),
            "variable" => variables::get(&at).map_err(said),
            "time" => Ok(format!("{:?}", std::time::Instant::now())),
            "random" => Ok(wasip2::random::random::get_random_u64().to_string()),
            "print" => {
                println!("{at}");
                Ok("printed".to_owned())
            }
            other => Err(format!("nobody knows how to reach {other}")),
        }
    }
}

fn said(error: impl Debug) -> String {
    format!("{error:?}")
}

/// A variable, or with `*` how many there are, of arguments and of variables.
fn environment(name: &str) -> Result<String, String> {
    if name == "*" {
        return Ok(format!(
            "{} {}",
            std::env::args().count(),
            std::env::vars().count()
        ));
    }
    std::env::var(name).map_err(said)
}

fn resolve(name: &str) -> Result<String, String> {
    let mut addresses = (name, 80).to_socket_addrs().map_err(said)?;
    addresses
        .next()
        .map(|address| address.ip().to_string())
        .ok_or_else(|| "no address".to_owned())
}

fn call(url: &str) -> Result<String, String> {
    let call = Call::start(Method::Get, url, Fields::new()).map_err(said)?;
    let response = call.finish().map_err(said)?;
    let body = Reader::of_response(&response).read_to_end().map_err(said)?;
    Ok(format!(
        "{} {}",
        response.status(),
        String::from_utf8_lossy(&body)
    ))
}
