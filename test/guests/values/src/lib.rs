//! Reads variables and asks models, through the interfaces of older SDKs and of WASI:
//! `GET /<interface>/<what>`.

use guest_http::respond_text;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

mod older {
    #![allow(missing_docs, reason = "made by a macro")]
    wit_bindgen::generate!({
        inline: "
            package test:older;
            world imports {
                import fermyon:spin/config;
                import fermyon:spin/llm;
            }
        ",
        path: "../../../runtime/bindings/wit/fermyon-spin",
        generate_all,
    });
}

mod second {
    #![allow(missing_docs, reason = "made by a macro")]
    wit_bindgen::generate!({
        inline: "
            package test:second;
            world imports {
                import fermyon:spin/variables@2.0.0;
                import fermyon:spin/llm@2.0.0;
            }
        ",
        path: "../../../runtime/bindings/wit/fermyon-spin-2.0.0",
        generate_all,
    });
}

mod config {
    #![allow(missing_docs, reason = "made by a macro")]
    wit_bindgen::generate!({
        inline: "
            package test:config;
            world imports {
                import wasi:config/store@0.2.0-draft-2024-09-27;
            }
        ",
        path: "../../../runtime/bindings/wit/wasi-config-0.2.0-draft-2024-09-27",
        generate_all,
    });
}

mod otel {
    #![allow(missing_docs, reason = "made by a macro")]
    wit_bindgen::generate!({
        path: "../../../runtime/bindings/wit/wasi-otel-0.2.0-rc.2",
        world: "wasi:otel/imports",
        generate_all,
    });
}

mod telemetry;

use config::wasi::config::store;
use older::fermyon::spin::{config as config_v1, llm as llm_v1};
use second::fermyon::spin::{llm as llm_v2, variables};

struct Values;

wasip2::http::proxy::export!(Values);

impl wasip2::exports::http::incoming_handler::Guest for Values {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let (interface, what) = path
            .trim_start_matches('/')
            .split_once('/')
            .unwrap_or_default();
        respond_text(out, 200, "text/plain", &answer(interface, what));
    }
}

fn answer(interface: &str, what: &str) -> String {
    match interface {
        "v1" => shown(config_v1::get_config(what)),
        "v2" => shown(variables::get(what)),
        "config" => match store::get(what) {
            Ok(value) => format!("{value:?}"),
            Err(error) => format!("{error:?}"),
        },
        "all" => format!("{:?}", store::get_all()),
        "infer-v1" => match llm_v1::infer(what, "Why?", None) {
            Ok(said) => said.text,
            Err(error) => format!("{error:?}"),
        },
        "infer" => {
            let params = llm_v2::InferencingParams {
                max_tokens: 7,
                repeat_penalty: 1.5,
                repeat_penalty_last_n_token_count: 3,
                temperature: 0.5,
                top_k: 9,
                top_p: 0.25,
            };
            match llm_v2::infer(what, "Why?", Some(params)) {
                Ok(said) => format!(
                    "{} {} {}",
                    said.text, said.usage.prompt_token_count, said.usage.generated_token_count
                ),
                Err(error) => format!("{error:?}"),
            }
        }
        "embed-v1" => match llm_v1::generate_embeddings(what, &texts()) {
            Ok(said) => format!("{:?}", said.embeddings),
            Err(error) => format!("{error:?}"),
        },
        "embed" => match llm_v2::generate_embeddings(what, &texts()) {
            Ok(said) => format!("{:?} {}", said.embeddings, said.usage.prompt_token_count),
            Err(error) => format!("{error:?}"),
        },
        "otel" => telemetry::report(what),
        _ => "not asked anything".to_owned(),
    }
}

fn texts() -> [String; 2] {
    ["one".to_owned(), "two".to_owned()]
}

fn shown<E: std::fmt::Debug>(result: Result<String, E>) -> String {
    result.unwrap_or_else(|error| format!("{error:?}"))
}
