//! A server of models, over HTTP: with Spin's own interface, or with OpenAI's,
//! which most servers speak.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use url::Url;

use super::exchange::{Limits, exchange};
use crate::config::{LlmApi, LlmCompute, Secret};
use crate::outbound::Client;

/// What one question may take. Models are slow.
const LIMITS: Limits = Limits {
    time: Duration::from_secs(300),
    length: 16 << 20,
};

/// How much of a server's complaint is passed on.
const COMPLAINT: usize = 500;

/// A server of models.
pub(crate) struct Llm {
    url: Url,
    token: Secret,
    api: LlmApi,
    client: Arc<Client>,
}

/// How a model is to answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) max_tokens: u32,
    pub(crate) repeat_penalty: f32,
    pub(crate) repeat_penalty_last_n_token_count: u32,
    pub(crate) temperature: f32,
    pub(crate) top_k: u32,
    pub(crate) top_p: f32,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            max_tokens: 100,
            repeat_penalty: 1.1,
            repeat_penalty_last_n_token_count: 64,
            temperature: 0.8,
            top_k: 40,
            top_p: 0.9,
        }
    }
}

/// What a model said.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) prompt_tokens: u32,
    pub(crate) generated_tokens: u32,
}

/// Texts as vectors.
#[derive(Debug, PartialEq)]
pub(crate) struct Embeddings {
    pub(crate) vectors: Vec<Vec<f32>>,
    pub(crate) prompt_tokens: u32,
}

impl Llm {
    /// The server that the configuration names, if it names one.
    ///
    /// # Errors
    /// When it cannot be one.
    pub(crate) fn new(
        compute: Option<&LlmCompute>,
        client: &Arc<Client>,
    ) -> Result<Option<Self>, String> {
        let Some(LlmCompute::RemoteHttp {
            url,
            auth_token,
            api_type,
        }) = compute
        else {
            return Ok(None);
        };
        Ok(Some(Self {
            url: Url::parse(url).map_err(|error| format!("llm_compute: url: {error}"))?,
            token: auth_token.clone(),
            api: *api_type,
            client: Arc::clone(client),
        }))
    }

    /// Asks a model.
    ///
    /// # Errors
    /// A sentence when there is no answer.
    pub(crate) async fn infer(
        &self,
        model: &str,
        prompt: &str,
        wish: Wish,
    ) -> Result<Answer, String> {
        match self.api {
            LlmApi::Default => {
                let asked = json!({"model": model, "prompt": prompt, "options": {
                    "maxTokens": wish.max_tokens,
                    "repeatPenalty": wish.repeat_penalty,
                    "repeatPenaltyLastNTokenCount": wish.repeat_penalty_last_n_token_count,
                    "temperature": wish.temperature,
                    "topK": wish.top_k,
                    "topP": wish.top_p,
                }});
                let said: Inferred = self.ask("/infer", &asked).await?;
                Ok(Answer {
                    text: said.text,
                    prompt_tokens: said.usage.prompt_token_count,
                    generated_tokens: said.usage.generated_token_count,
                })
            }
            LlmApi::OpenAi => {
                // There is no top-k and no window of repetition in this interface.
                let asked = json!({
                    "model": model,
                    "messages": [{"role": "user", "content": prompt}],
                    "max_completion_tokens": wish.max_tokens,
                    "frequency_penalty": wish.repeat_penalty,
                    "temperature": wish.temperature,
                    "top_p": wish.top_p,
                });
                let said: Completed = self.ask("/v1/chat/completions", &asked).await?;
                let first = said.choices.into_iter().next();
                Ok(Answer {
                    text: first
                        .and_then(|one| one.message.content)
                        .unwrap_or_default(),
                    prompt_tokens: said.usage.prompt_tokens,
                    generated_tokens: said.usage.completion_tokens,
                })
            }
        }
    }

    /// Turns texts into vectors.
    ///
    /// # Errors
    /// A sentence when there is no answer.
    pub(crate) async fn embed(&self, model: &str, texts: &[String]) -> Result<Embeddings, String> {
        let asked = json!({"model": model, "input": texts});
        match self.api {
            LlmApi::Default => {
                let said: Embedded = self.ask("/embed", &asked).await?;
                Ok(Embeddings {
                    vectors: said.embeddings,
                    prompt_tokens: said.usage.prompt_token_count,
                })
            }
            LlmApi::OpenAi => {
                let said: EmbeddedList = self.ask("/v1/embeddings", &asked).await?;
                Ok(Embeddings {
                    vectors: said.data.into_iter().map(|one| one.embedding).collect(),
                    prompt_tokens: said.usage.prompt_tokens,
                })
            }
        }
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str, asked: &Value) -> Result<T, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("asking the model: {error}");
        let url = self.url.join(path).map_err(|error| wrong(&error))?;
        let mut token = HeaderValue::from_str(&format!("bearer {}", self.token.expose()))
            .map_err(|error| wrong(&error))?;
        token.set_sensitive(true);
        let request = Request::post(url.as_str())
            .header(AUTHORIZATION, token)
            .header(CONTENT_TYPE, "application/json")
            .body(Bytes::from(asked.to_string()))
            .map_err(|error| wrong(&error))?;
        let (status, body) = exchange(&self.client, request, LIMITS).await?;
        if !status.is_success() {
            return Err(format!(
                "the server of models answered with {status}: {}",
                complaint(&body)
            ));
        }
        serde_json::from_slice(&body).map_err(|error| {
            format!("the server of models answered {path} with something else: {error}")
        })
    }
}

/// What a server says is wrong, in short.
fn complaint(body: &[u8]) -> String {
    let said: Option<Value> = serde_json::from_slice(body).ok();
    let told = said
        .as_ref()
        .and_then(|said| said.pointer("/error/message"));
    let text = match told.and_then(Value::as_str) {
        Some(told) => told.to_owned(),
        None => String::from_utf8_lossy(body).into_owned(),
    };
    text.chars().take(COMPLAINT).collect()
}

#[derive(Deserialize)]
struct Inferred {
    text: String,
    usage: InferredUsage,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InferredUsage {
    prompt_token_count: u32,
    generated_token_count: u32,
}

#[derive(Deserialize)]
struct Embedded {
    embeddings: Vec<Vec<f32>>,
    usage: EmbeddedUsage,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EmbeddedUsage {
    prompt_token_count: u32,
}

#[derive(Deserialize)]
struct Completed {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Tokens,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
}

#[derive(Default, Deserialize)]
struct Tokens {
    #[serde(default)]
    prompt_tokens: u32,
    #[serde(default)]
    completion_tokens: u32,
}

#[derive(Deserialize)]
struct EmbeddedList {
    data: Vec<Vector>,
    #[serde(default)]
    usage: Tokens,
}

#[derive(Deserialize)]
struct Vector {
    embedding: Vec<f32>,
}
