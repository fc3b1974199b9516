//! Databases on a libSQL server, by Hrana over HTTP: each statement is a request
//! to `/v2/pipeline`.
//!
//! The server answers with a baton. Whoever sends it back is on the same
//! connection there, so that a transaction may span statements.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, Uri};
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Value as Json, json};
use tokio::sync::Mutex;
use wasmtime_wasi_http::RequestOptions;

use super::{Error, MAX_RESULT, Rows, Size, Value};
use crate::body;
use crate::config::Secret;
use crate::outbound::Client;

/// How long a statement may take.
const LIMIT: Duration = Duration::from_secs(60);

/// The largest answer; JSON takes more room than what it says.
const MAX_ANSWER: usize = 2 * MAX_RESULT;

/// A server.
pub(super) struct Server {
    pipeline: Uri,
    authorization: HeaderValue,
    client: Arc<Client>,
}

/// A connection of one guest.
pub(crate) struct Connection {
    server: Arc<Server>,
    stream: Mutex<Stream>,
    last: std::sync::Mutex<(i64, u64)>,
}

/// Where the next statement goes.
#[derive(Default)]
struct Stream {
    baton: Option<String>,
    /// The server may ask for another address.
    base: Option<Uri>,
}

impl Server {
    /// Reads the URL and the token; connects later.
    pub(super) fn new(url: &str, token: &Secret, client: Arc<Client>) -> Result<Self, String> {
        let pipeline = pipeline(url).ok_or_else(|| {
            format!("url: {url:?} is not of the form \"http://\" or \"https://\" and a host")
        })?;
        let authorization = HeaderValue::try_from(format!("Bearer {}", token.expose()));
        let mut authorization =
            authorization.map_err(|_| "token: it has characters that no header can have")?;
        authorization.set_sensitive(true);
        Ok(Self {
            pipeline,
            authorization,
            client,
        })
    }

    /// Sends requests, and gives the object that answers them.
    async fn send(&self, to: &Uri, requests: &Json) -> Result<Json, Error> {
        let request = Request::post(to)
            .header(AUTHORIZATION, &self.authorization)
            .header(CONTENT_TYPE, "application/json")
            .body(body::full(requests.to_string()))
            .map_err(|error| failed(&error.to_string()))?;
        let options = RequestOptions {
            first_byte_timeout: Some(LIMIT),
            between_bytes_timeout: Some(LIMIT),
            ..RequestOptions::default()
        };
        let response = self.client.send(None, request, Some(options)).await;
        let response = response.map_err(|error| failed(&format!("{error:?}")))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER)
            .collect()
            .await;
        let body = body.map_err(|error| failed(&error.to_string()))?.to_bytes();
        let answer = serde_json::from_slice::<Json>(&body);
        match answer {
            Ok(answer) if status.is_success() => Ok(answer),
            Ok(answer) => match answer["message"].as_str().or(answer["error"].as_str()) {
                Some(message) => Err(failed(&format!("{status}: {message}"))),
                None => Err(failed(&status.to_string())),
            },
            Err(_) if !status.is_success() => Err(failed(&status.to_string())),
            Err(error) => Err(failed(&format!("its answer is no JSON: {error}"))),
        }
    }
}

/// The address for statements below a base.
fn pipeline(url: &str) -> Option<Uri> {
    let url = match url.strip_prefix("libsql://") {
        Some(rest) => format!("https://{rest}"),
        None => url.to_owned(),
    };
    let uri: Uri = format!("{}/v2/pipeline", url.trim_end_matches('/'))
        .parse()
        .ok()?;
    let known = matches!(uri.scheme_str(), Some("http" | "https"));
    (known && uri.host().is_some_and(|host| !host.is_empty())).then_some(uri)
}

fn failed(reason: &str) -> Error {
    Error::Io(format!("libSQL: {reason}"))
}

impl Connection {
    pub(super) fn new(server: Arc<Server>) -> Self {
        Self {
            server,
            stream: Mutex::default(),
            last: std::sync::Mutex::default(),
        }
    }

    /// What the last statement left: the last row inserted, the rows changed.
    pub(super) fn last(&self) -> (i64, u64) {
        *self.locked_last()
    }

    fn locked_last(&self) -> std::sync::MutexGuard<'_, (i64, u64)> {
        // Nothing that can panic runs under this lock.
        self.last
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Runs one statement.
    pub(super) async fn execute(&self, sql: String, values: Vec<Value>) -> Result<Rows, Error> {
        let mut stream = self.stream.lock().await;
        // A statement that is given up, or fails on the way, takes its connection
        // along: nobody knows how far it came.
        let Stream { baton, base } = std::mem::take(&mut *stream);
        let values: Vec<Json> = values.into_iter().map(to_json).collect();
        let statement = json!({"sql": sql, "args": values, "want_rows": true});
        let requests = json!({
            "baton": baton,
            "requests": [{"type": "execute", "stmt": statement}],
        });
        let to = base.as_ref().unwrap_or(&self.server.pipeline);
        let answer = self.server.send(to, &requests).await?;
        *stream = Stream {
            baton: answer["baton"].as_str().map(ToOwned::to_owned),
            base: answer["base_url"].as_str().and_then(pipeline),
        };
        let result = &answer["results"][0];
        if result["type"] == "error" {
            let message = result["error"]["message"]
                .as_str()
                .unwrap_or("unknown error");
            return Err(failed(message));
        }
        let result = &result["response"]["result"];
        let rows = read_rows(result)?;
        let inserted = result["last_insert_rowid"].as_str();
        let changes = result["affected_row_count"].as_u64().unwrap_or(0);
        let mut last = self.locked_last();
        let inserted = inserted.and_then(|id| id.parse().ok()).unwrap_or(last.0);
        *last = (inserted, changes);
        Ok(rows)
    }
}

fn to_json(value: Value) -> Json {
    match value {
        Value::Null => json!({"type": "null"}),
        // A number in JSON would lose digits.
        Value::Integer(number) => json!({"type": "integer", "value": number.to_string()}),
        Value::Real(number) => json!({"type": "float", "value": number}),
        Value::Text(text) => json!({"type": "text", "value": text}),
        Value::Blob(blob) => json!({"type": "blob", "base64": STANDARD_NO_PAD.encode(blob)}),
    }
}

fn read_rows(result: &Json) -> Result<Rows, Error> {
    let malformed = || failed("its answer is not as it has to be");
    let columns = result["cols"].as_array().ok_or_else(malformed)?;
    let columns: Vec<String> = columns
        .iter()
        .map(|column| column["name"].as_str().unwrap_or_default().to_owned())
        .collect();
    let mut size = Size::default();
    let mut rows = Vec::new();
    for row in result["rows"].as_array().ok_or_else(malformed)? {
        let cells = row.as_array().ok_or_else(malformed)?.iter().map(from_json);
        let cells: Option<Vec<Value>> = cells.collect();
        let cells = cells.ok_or_else(malformed)?;
        let bytes = cells.iter().map(|cell| match cell {
            Value::Text(text) => text.len(),
            Value::Blob(blob) => blob.len(),
            _ => 0,
        });
        size.add(cells.len(), bytes.sum())?;
        rows.push(cells);
    }
    Ok(Rows { columns, rows })
}

fn from_json(cell: &Json) -> Option<Value> {
    let value = &cell["value"];
    match cell["type"].as_str()? {
        "null" => Some(Value::Null),
        "integer" => Some(Value::Integer(value.as_str()?.parse().ok()?)),
        "float" => value.as_f64().map(Value::Real),
        "text" => value.as_str().map(|text| Value::Text(text.to_owned())),
        "blob" => {
            let text = cell["base64"].as_str()?.trim_end_matches('=');
            STANDARD_NO_PAD.decode(text).ok().map(Value::Blob)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn values_go_there_and_back() {
        for value in [
            Value::Null,
            Value::Integer(i64::MIN),
            Value::Real(1.5),
            Value::Text("ä".to_owned()),
            Value::Blob(vec![0, 255, 7, 1]),
        ] {
            assert_eq!(from_json(&to_json(value.clone())), Some(value));
        }
        let padded = json!({"type": "blob", "base64": STANDARD.encode([1])});
        assert_eq!(from_json(&padded), Some(Value::Blob(vec![1])));
    }

    #[test]
    fn addresses() {
        let at = |url| pipeline(url).map(|uri| uri.to_string());
        assert_eq!(
            at("libsql://a.b/").as_deref(),
            Some("https://a.b/v2/pipeline")
        );
        assert_eq!(at("http://a:1").as_deref(), Some("http://a:1/v2/pipeline"));
        assert_eq!(at("ftp://a"), None);
        assert_eq!(at("a.b"), None);
    }
}
