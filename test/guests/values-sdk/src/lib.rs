//! Reads variables and asks models, through the current Spin SDK: `GET /<interface>/<what>`.

use spin_sdk::http::{IntoResponse, Request};
use spin_sdk::{http_service, llm, variables};

/// Answers with what the host said, as text.
#[http_service]
async fn answer(request: Request) -> impl IntoResponse {
    let path = request.uri().path().to_owned();
    let mut parts = path.trim_start_matches("/sdk/").splitn(2, '/');
    let (interface, what) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    match interface {
        "variable" => match variables::get(what).await {
            Ok(value) => value,
            Err(error) => format!("{error:?}"),
        },
        "infer" => match llm::infer(llm::InferencingModel::Other(what), "Why?") {
            Ok(said) => format!(
                "{} {} {}",
                said.text, said.usage.prompt_token_count, said.usage.generated_token_count
            ),
            Err(error) => format!("{error:?}"),
        },
        _ => "not asked anything".to_owned(),
    }
}
