//! `fermyon:spin/llm`: the models that the component may ask.

use catena_bindings::llm::{unversioned, v2};
use wasmtime::component::Linker;

use super::{State, View, Viewed};
use crate::service::{Llm, Wish};

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    unversioned::llm::add_to_linker::<_, Viewed>(linker, State::view)?;
    v2::llm::add_to_linker::<_, Viewed>(linker, State::view)
}

/// Why a model is not asked, or does not answer.
enum Trouble {
    Denied(String),
    Failed(String),
}

impl View<'_> {
    /// The server of models, if the component may ask this one.
    fn server(&self, model: &str) -> Result<&Llm, Trouble> {
        if !self.granted.ai_models.iter().any(|one| one == model) {
            tracing::warn!(
                "asking the model {model:?} was denied: add {model:?} to the ai_models of the \
                 component {:?} to allow it",
                self.granted.component
            );
            return Err(Trouble::Denied(format!(
                "the component may not ask the model {model:?}"
            )));
        }
        let llm = self.granted.llm.as_deref();
        llm.ok_or_else(|| {
            Trouble::Failed(
                "there is no server of models: the runtime configuration has no [llm_compute]"
                    .to_owned(),
            )
        })
    }
}

macro_rules! implement {
    ($llm:path) => {
        const _: () = {
            use $llm as llm;

            impl From<Trouble> for llm::Error {
                fn from(trouble: Trouble) -> Self {
                    match trouble {
                        Trouble::Denied(text) => llm::Error::InvalidInput(text),
                        Trouble::Failed(text) => llm::Error::RuntimeError(text),
                    }
                }
            }

            fn wish(params: &llm::InferencingParams) -> Wish {
                Wish {
                    max_tokens: params.max_tokens,
                    repeat_penalty: params.repeat_penalty,
                    repeat_penalty_last_n_token_count: params.repeat_penalty_last_n_token_count,
                    temperature: params.temperature,
                    top_k: params.top_k,
                    top_p: params.top_p,
                }
            }

            impl llm::Host for View<'_> {
                async fn infer(
                    &mut self,
                    model: String,
                    prompt: String,
                    params: Option<llm::InferencingParams>,
                ) -> wasmtime::Result<Result<llm::InferencingResult, llm::Error>> {
                    let server = match self.server(&model) {
                        Ok(server) => server,
                        Err(trouble) => return Ok(Err(trouble.into())),
                    };
                    let wish = params.as_ref().map(wish).unwrap_or_default();
                    let answer = server.infer(&model, &prompt, wish).await;
                    let answer = answer.map(|answer| llm::InferencingResult {
                        text: answer.text,
                        usage: llm::InferencingUsage {
                            prompt_token_count: answer.prompt_tokens,
                            generated_token_count: answer.generated_tokens,
                        },
                    });
                    Ok(answer.map_err(|text| Trouble::Failed(text).into()))
                }

                async fn generate_embeddings(
                    &mut self,
                    model: String,
                    text: Vec<String>,
                ) -> wasmtime::Result<Result<llm::EmbeddingsResult, llm::Error>> {
                    let server = match self.server(&model) {
                        Ok(server) => server,
                        Err(trouble) => return Ok(Err(trouble.into())),
                    };
                    let answer = server.embed(&model, &text).await;
                    let answer = answer.map(|answer| llm::EmbeddingsResult {
                        embeddings: answer.vectors,
                        usage: llm::EmbeddingsUsage {
                            prompt_token_count: answer.prompt_tokens,
                        },
                    });
                    Ok(answer.map_err(|text| Trouble::Failed(text).into()))
                }
            }
        };
    };
}

// The two versions are the same but for their names.
implement!(unversioned::llm);
implement!(v2::llm);
