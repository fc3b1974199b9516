//! The probe over `wasi:http` 0.3: the same paths as `probe`, where they make sense, from an instance
//! that may serve many requests, also at once.

mod body;
mod call;
mod files;
#[path = "../../probe/src/json.rs"]
mod json;
#[path = "../../probe/src/query.rs"]
mod query;
mod sockets;

use std::sync::atomic::{AtomicU32, Ordering};

use wasip3::clocks::monotonic_clock;
use wasip3::http::types::{ErrorCode, Method, Request, Response, Scheme};
use wasip3::wit_bindgen;

use query::Query;

/// Requests that this instance has seen.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// Requests that this instance has at this moment.
static NOW: AtomicU32 = AtomicU32::new(0);

struct Probe;

wasip3::http::service::export!(Probe);

impl wasip3::exports::http::handler::Guest for Probe {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let count = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
        NOW.fetch_add(1, Ordering::Relaxed);
        let response = answer(request, count).await;
        NOW.fetch_sub(1, Ordering::Relaxed);
        response
    }
}

async fn answer(request: Request, count: u32) -> Result<Response, ErrorCode> {
    let query = Query::parse(&request.get_path_with_query().unwrap_or_default());
    match query.path.as_str() {
        "/count" => Ok(body::text(200, &count.to_string())),
        "/slow" => {
            pause(query.number("ms", 100)).await;
            let at_once = NOW.load(Ordering::Relaxed);
            Ok(body::text(200, &format!("{at_once} at once\n")))
        }
        "/echo" => {
            let (mut to, ended, response) = body::streamed(200);
            let (from, from_ended) = body::of_request(request);
            wit_bindgen::spawn(async move {
                body::carry(from, &mut to).await;
                drop(to);
                _ = ended.write(from_ended.await).await;
            });
            Ok(response)
        }
        "/sink" => {
            let (from, ended) = body::of_request(request);
            let total = body::count(from).await;
            ended.await?;
            Ok(body::text(200, &total.to_string()))
        }
        "/large" => Ok(body::large(query.number("bytes", 1 << 20))),
        "/drip" => Ok(drip(&query)),
        "/env" => Ok(files::environment()),
        "/file" => Ok(files::file(&query).await),
        "/write" => Ok(files::write(&query).await),
        "/connect" => Ok(sockets::connect(&query).await),
        "/call" => call::pass(request, &query).await,
        "/report" => call::report(&query).await,
        "/duplex" => call::duplex(request, &query).await,
        "/loop" => call::recurse(&request, &query).await,
        "/error" => Err(ErrorCode::InternalError(Some("as was asked".to_owned()))),
        "/trap" => {
            trap();
            Ok(body::text(200, "it did not trap\n"))
        }
        "/trap-after" => {
            let (mut to, ended, response) = body::streamed(200);
            let bytes = usize::try_from(query.number("bytes", 5)).unwrap_or(5);
            wit_bindgen::spawn(async move {
                _ = to.write_all(vec![b'x'; bytes]).await;
                pause(100).await;
                trap();
                drop(ended);
            });
            Ok(response)
        }
        "/unfinished" => {
            let (mut to, ended, response) = body::streamed(200);
            wit_bindgen::spawn(async move {
                _ = to.write_all(b"half of ".to_vec()).await;
                let broken = ErrorCode::InternalError(Some("left unfinished".to_owned()));
                _ = ended.write(Err(broken)).await;
            });
            Ok(response)
        }
        _ => Ok(see(&request)),
    }
}

fn trap() {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
}

async fn pause(milliseconds: u64) {
    monotonic_clock::wait_for(milliseconds * 1_000_000).await;
}

/// `count` lines, `ms` apart. Each is told on stderr too, so that a test sees when it stops.
fn drip(query: &Query) -> Response {
    let name = query.get("name").unwrap_or("drip").to_owned();
    let (count, apart) = (query.number("count", 3), query.number("ms", 100));
    let (mut to, ended, response) = body::streamed(200);
    wit_bindgen::spawn(async move {
        for drop in 1..=count {
            eprintln!("{name} {drop}");
            let left = to.write_all(format!("drop {drop}\n").into_bytes()).await;
            if !left.is_empty() {
                eprintln!("{name} is no longer heard");
                return;
            }
            pause(apart).await;
        }
        drop(to);
        _ = ended.write(Ok(None)).await;
    });
    response
}

/// Reports the request.
fn see(request: &Request) -> Response {
    let headers = request.get_headers().copy_all();
    let scheme = request.get_scheme().map(|scheme| match scheme {
        Scheme::Http => "http".to_owned(),
        Scheme::Https => "https".to_owned(),
        Scheme::Other(other) => other,
    });
    let method = match request.get_method() {
        Method::Other(other) => other,
        known => format!("{known:?}")
            .trim_start_matches("Method::")
            .to_uppercase(),
    };
    body::text(
        200,
        &format!(
            "{{\"method\":{},\"path\":{},\"scheme\":{},\"authority\":{},\"headers\":{}}}\n",
            json::string(&method),
            json::optional(request.get_path_with_query().as_deref()),
            json::optional(scheme.as_deref()),
            json::optional(request.get_authority().as_deref()),
            json::pairs(
                headers
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_slice()))
            ),
        ),
    )
}
