//! Answers with what its dependencies say: the path is the function, the query its arguments, separated by commas.

use guest_http::{respond_not_found, respond_text};
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

mod bindings {
    #![allow(missing_docs, reason = "made by a macro")]
    wit_bindgen::generate!({
        path: ["../library/wit", "../reach/wit"],
        inline: "
            package test:composed;
            world imports {
                import test:library/sums@1.2.0;
                import test:library/tallies@1.2.0;
                import test:library/waits@1.2.0;
                import test:reach/reach@1.0.0;
                import shout: func(text: string) -> string;
            }
        ",
        with: { "wasi:io/poll@0.2.12": wasip2::io::poll },
        generate_all,
    });
}

use bindings::test::library::{sums, tallies, waits};
use bindings::test::reach::reach;

struct Composed;

wasip2::http::proxy::export!(Composed);

impl wasip2::exports::http::incoming_handler::Guest for Composed {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let asked = request.path_with_query().unwrap_or_default();
        let (path, arguments) = asked.split_once('?').unwrap_or((&asked, ""));
        let arguments: Vec<_> = arguments.split(',').collect();
        let answer = match (path, arguments.as_slice()) {
            ("/add", [a, b]) => sums::add(number(a) as i32, number(b) as i32).to_string(),
            ("/tally", numbers) => tally(numbers),
            ("/wait", [milliseconds]) => {
                let started = std::time::Instant::now();
                waits::after(number(milliseconds).into()).block();
                format!("{} ms", started.elapsed().as_millis())
            }
            ("/shout", [text]) => bindings::shout(text),
            ("/reach", [what, at]) => format!("{:?}", reach::attempt(what, at)),
            // What the component itself may use.
            ("/environment", [name]) => format!("{:?}", std::env::var(name)),
            ("/file", [path]) => format!("{:?}", std::fs::read_to_string(path)),
            _ => return respond_not_found(out, path),
        };
        respond_text(out, 200, "text/plain", &answer);
    }
}

/// Two tallies, of all numbers and of the first alone; the total of the larger one.
fn tally(numbers: &[&str]) -> String {
    let first = numbers.first().map_or(0, |number_| number(number_));
    let (all, one) = (tallies::Tally::new(0), tallies::Tally::new(first));
    for text in numbers {
        all.add(number(text));
    }
    tallies::larger(one, all).total().to_string()
}

fn number(text: &str) -> u32 {
    text.parse().expect("a number")
}
