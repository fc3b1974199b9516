//! A command of `wasi:cli/run` 0.3: calls what `CALL` names (a component of its application), tells the status on its
//! standard output, and fails where there is `FAIL`.

use wasip3::cli::{environment, stdout};
use wasip3::http::client;
use wasip3::http::types::{Fields, Method, Request, Scheme};
use wasip3::{wit_bindgen, wit_future, wit_stream};

struct Command;

wasip3::cli::command::export!(Command);

impl wasip3::exports::cli::run::Guest for Command {
    async fn run() -> Result<(), ()> {
        let variables = environment::get_environment();
        let set = |wanted: &str| variables.iter().find(|(name, _)| name == wanted);
        let mut said = "the command of 0.3 has run\n".to_owned();
        if let Some((_, host)) = set("CALL") {
            said += &format!("called: {}\n", call(host).await);
        }
        let (mut to, contents) = wit_stream::new();
        wit_bindgen::spawn(async move {
            _ = to.write_all(said.into_bytes()).await;
        });
        stdout::write_via_stream(contents).await.map_err(drop)?;
        match set("FAIL") {
            None => Ok(()),
            Some(_) => Err(()),
        }
    }
}

/// The status of the answer, or the error.
async fn call(host: &str) -> String {
    let (_no_trailers, trailers) = wit_future::new(|| Ok(None));
    let (request, _sent) = Request::new(Fields::new(), None, trailers, None);
    _ = request.set_method(&Method::Get);
    _ = request.set_scheme(Some(&Scheme::Http));
    _ = request.set_authority(Some(host));
    _ = request.set_path_with_query(Some("/count"));
    match client::send(request).await {
        Ok(response) => response.get_status_code().to_string(),
        Err(error) => format!("{error:?}"),
    }
}
