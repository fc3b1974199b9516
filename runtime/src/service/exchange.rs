//! One request of catena's own to a server that the runtime configuration
//! names, and its whole answer, of which the length and the time are bounded.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};

use crate::body::{self, Body};
use crate::outbound::Client;

/// What an exchange may take.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) time: Duration,
    /// The longest answer, in bytes.
    pub(super) length: usize,
}

/// Sends `request` and reads the answer.
///
/// # Errors
/// A sentence without the request's secrets.
pub(super) async fn exchange(
    client: &Client,
    request: Request<Bytes>,
    limits: Limits,
) -> Result<(StatusCode, Bytes), String> {
    let place = request.uri().authority().map(ToString::to_string);
    let place = place.unwrap_or_default();
    let request: Request<Body> = request.map(body::full);
    let exchange = async {
        let response = client.send(None, request, None).await;
        let response = response.map_err(|error| format!("asking {place}: {error}"))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), limits.length);
        let body = body.collect().await;
        let body = body.map_err(|error| format!("reading the answer of {place}: {error}"))?;
        Ok((status, body.to_bytes()))
    };
    let answer = tokio::time::timeout(limits.time, exchange).await;
    answer.unwrap_or_else(|_| {
        Err(format!(
            "{place} did not answer in {} seconds",
            limits.time.as_secs()
        ))
    })
}
