//! What happens to a request between the wire and the dispatcher: its target
//! becomes an absolute URI whose authority the application may believe.

use std::net::SocketAddr;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as _, Incoming};
use wasmtime_wasi_http::Error;

use crate::body::Body;
use crate::call::{HttpEvent, Origin, To};
use crate::dispatch::Dispatcher;
use crate::outbound::is_chain_host;

const HEALTH: &str = "/.well-known/spin/health";
const INFO: &str = "/.well-known/spin/info";

/// What all requests of one connection have in common.
pub(super) struct Connection {
    client: HeaderValue,
    /// The address that the client reached us by; stands in for a `Host` that
    /// is missing or may not be believed.
    local: Authority,
    max_body_bytes: Option<usize>,
}

impl Connection {
    pub(super) fn new(
        client: SocketAddr,
        local: SocketAddr,
        max_body_bytes: Option<usize>,
    ) -> Self {
        let text = local.to_string();
        Self {
            client: HeaderValue::try_from(client.to_string())
                .unwrap_or(HeaderValue::from_static("unknown")),
            local: Authority::try_from(text).unwrap_or(Authority::from_static("localhost")),
            max_body_bytes,
        }
    }

    /// Answers one request.
    pub(super) async fn respond(
        &self,
        dispatcher: &std::sync::Arc<Dispatcher>,
        request: Request<Incoming>,
    ) -> Response<Body> {
        match request.uri().path() {
            HEALTH => return Response::new(crate::body::full("OK")),
            INFO => {
                let mut response = Response::new(crate::body::full(dispatcher.info.clone()));
                let json = HeaderValue::from_static("application/json");
                response.headers_mut().insert(CONTENT_TYPE, json);
                return response;
            }
            _ => {}
        }
        match self.admit(request) {
            Ok(request) => {
                let event = HttpEvent {
                    to: To::Route,
                    request,
                    origin: Origin::Client(self.client.clone()),
                };
                dispatcher.respond(event).await
            }
            Err(Refused(status, reason)) => {
                let mut response = Response::new(crate::body::full(reason));
                *response.status_mut() = status;
                response
            }
        }
    }

    fn admit(&self, request: Request<Incoming>) -> Result<Request<Body>, Refused> {
        let (mut parts, body) = request.into_parts();
        if parts.method == Method::CONNECT {
            return Err(Refused(
                StatusCode::METHOD_NOT_ALLOWED,
                "CONNECT is not supported: this is not a proxy\n",
            ));
        }
        let authority = self.authority(&parts)?;
        // What the guest is told as its host is one thing, however it was sent
        // (RFC 9112, section 3.2.2: an absolute target overrides `Host`).
        let sent = parts.headers.get(HOST).map(HeaderValue::as_bytes);
        if sent != Some(authority.as_str().as_bytes()) {
            let host = HeaderValue::from_str(authority.as_str())
                .map_err(|_| Refused(StatusCode::BAD_REQUEST, "the Host is not a host\n"))?;
            parts.headers.insert(HOST, host);
        }
        let path = std::mem::take(&mut parts.uri)
            .into_parts()
            .path_and_query
            .filter(|path| path.as_str().starts_with('/'));
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(Scheme::HTTP);
        uri.authority = Some(authority);
        // `OPTIONS *` asks for the server as a whole; its root answers.
        uri.path_and_query = Some(path.unwrap_or(PathAndQuery::from_static("/")));
        parts.uri = Uri::from_parts(uri).map_err(|_| {
            Refused(
                StatusCode::BAD_REQUEST,
                "the request's target is not a URI\n",
            )
        })?;
        let body = self.limit(&parts, body)?;
        Ok(Request::from_parts(parts, body))
    }

    /// The authority of a request, never one under `spin.internal`: those are
    /// the components' own, and no client may speak as one (SIP-017, "Incoming
    /// request headers").
    fn authority(&self, parts: &http::request::Parts) -> Result<Authority, Refused> {
        let mut hosts = parts.headers.get_all(HOST).iter();
        let host = hosts.next();
        if hosts.next().is_some() {
            return Err(Refused(
                StatusCode::BAD_REQUEST,
                "a request has one Host (RFC 9112, section 3.2)\n",
            ));
        }
        let bad = || Refused(StatusCode::BAD_REQUEST, "the Host is not a host\n");
        let host = match host {
            Some(host) if !host.is_empty() => {
                Some(Authority::try_from(host.as_bytes()).map_err(|_| bad())?)
            }
            _ => None,
        };
        if host.is_none() && parts.uri.authority().is_none() && parts.version == Version::HTTP_11 {
            return Err(Refused(
                StatusCode::BAD_REQUEST,
                "a request has a Host (RFC 9112, section 3.2)\n",
            ));
        }
        let userinfo = |authority: &Authority| authority.as_str().contains('@');
        if host.as_ref().is_some_and(userinfo) || parts.uri.authority().is_some_and(userinfo) {
            return Err(Refused(
                StatusCode::BAD_REQUEST,
                "a Host has no user information (RFC 9110, section 4.2.4)\n",
            ));
        }
        let credible = |authority: &Authority| !is_chain_host(authority.host());
        Ok(parts
            .uri
            .authority()
            .cloned()
            .filter(credible)
            .or(host.filter(credible))
            .unwrap_or_else(|| self.local.clone()))
    }

    fn limit(&self, parts: &http::request::Parts, body: Incoming) -> Result<Body, Refused> {
        if body.is_end_stream() {
            return Ok(crate::body::empty());
        }
        let Some(max) = self.max_body_bytes else {
            return Ok(body.map_err(Error::from).boxed_unsync());
        };
        let declared = parts
            .headers
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if declared.is_some_and(|declared| declared > max) {
            return Err(Refused(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the request's body is larger than this server takes\n",
            ));
        }
        Ok(Limited::new(body, max)
            .map_err(|error| match error.downcast::<hyper::Error>() {
                Ok(error) => Error::from(*error),
                Err(_) => Error::HttpRequestBodySize(None),
            })
            .boxed_unsync())
    }
}

/// A request that goes no further: the status and a sentence for the client.
struct Refused(StatusCode, &'static str);
