//! Where the requests of guests go: to another component in memory, back to
//! the application itself, or to a real host.
//!
//! ```text
//! guest -> permitted? -> <component>.spin.internal -> Call (no socket)
//!                     -> self, or only a path      -> Call, by the routes
//!                     -> anything else             -> pooled client
//! ```
//!
//! The rules for chaining are those of SIP-017; those for real hosts are the
//! `allowed_outbound_hosts` of the component.

use std::collections::HashMap;
use std::sync::Arc;

use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use wasmtime_wasi_http::{Error, RequestOptions};

use crate::app::allowed_hosts::AllowedHosts;
use crate::body::Body;
use crate::call::{Call, CallError, ComponentIndex, Event, HttpEvent, Origin, Reply, To};
use crate::life::Life;

mod client;
mod lookup;
mod network;
mod sockets;
mod tls;
mod trust;

pub(crate) use client::{Client, ClientInput, Timeouts};
pub(crate) use network::{BlockedNetworks, Network};
pub(crate) use sockets::{LookupError, Sockets};
pub(crate) use trust::Trust;
pub(crate) use trust::{client as tls_client, parse as parse_authorities};

/// The authority under which a guest calls its own application; requests that
/// have only a path get it too.
pub(crate) const SELF_AUTHORITY: &str = "self.alt";

/// The host that a component sees in a request of its own application.
const SELF_HOST: &str = "localhost";

/// The domain whose names are the components of the application.
pub(crate) const CHAIN_DOMAIN: &str = "spin.internal";

/// What all components of an application share for their outgoing requests.
#[derive(Debug)]
pub(crate) struct Upstreams {
    /// The components that can be called, by id in lower case, as in a host name.
    pub(crate) components: HashMap<String, Callee>,
    /// The client for real hosts.
    pub(crate) client: Client,
    /// How deep chained calls may nest.
    pub(crate) max_depth: u32,
}

/// A component that others can call.
#[derive(Debug)]
pub(crate) struct Callee {
    index: ComponentIndex,
    authority: Authority,
    host: HeaderValue,
}

impl Callee {
    /// The component with this id; none for an id that cannot be a host's name.
    pub(crate) fn new(id: &str, index: ComponentIndex) -> Option<Self> {
        let host = format!("{id}.{CHAIN_DOMAIN}");
        Some(Self {
            index,
            authority: Authority::try_from(host.as_str()).ok()?,
            host: HeaderValue::try_from(host).ok()?,
        })
    }
}

/// The guest that sends a request.
pub(crate) struct Sender {
    /// Who delivers it to another guest.
    pub(crate) call: Arc<dyn Call>,
    /// What the guest called runs beside it.
    pub(crate) life: Arc<Life>,
    /// How many guests wait for the sender.
    pub(crate) depth: u32,
}

/// The outgoing requests of one component.
#[derive(Debug)]
pub(crate) struct Outbound {
    upstreams: Arc<Upstreams>,
    component: String,
    allowed: Arc<AllowedHosts>,
}

impl Outbound {
    /// The outgoing requests of a component that may reach `allowed`.
    pub(crate) fn new(
        upstreams: Arc<Upstreams>,
        component: &str,
        allowed: Arc<AllowedHosts>,
    ) -> Self {
        Self {
            upstreams,
            component: component.to_owned(),
            allowed,
        }
    }

    /// Sends a request of a guest at `depth` to where its URI says.
    ///
    /// # Errors
    /// `HttpRequestDenied` when the component may not call that host,
    /// `DestinationNotFound` when no component has the name, and what the
    /// network gives. A component that fails is a response, not an error.
    pub(crate) async fn send(
        self: Arc<Self>,
        sender: Sender,
        mut request: Request<Body>,
        options: Option<RequestOptions>,
    ) -> Result<Response<Body>, Error> {
        let authority = request
            .uri()
            .authority()
            .ok_or(Error::HttpRequestUriInvalid)?
            .clone();
        let host = authority.host();
        if let Some(name) = chained_name(host) {
            let callee = self.callee(name)?;
            request.headers_mut().insert(HOST, callee.host.clone());
            set_authority(&mut request, callee.authority.clone())?;
            let to = To::Component(callee.index);
            return self.dispatch(sender, to, name, request).await;
        }
        if host.eq_ignore_ascii_case("self") || host.eq_ignore_ascii_case(SELF_AUTHORITY) {
            if !self.allowed.allows_self() {
                return Err(denied(host, "self"));
            }
            request
                .headers_mut()
                .insert(HOST, HeaderValue::from_static(SELF_HOST));
            set_authority(&mut request, Authority::from_static(SELF_HOST))?;
            return self.dispatch(sender, To::Route, "self", request).await;
        }
        self.network(&authority, request, options).await
    }

    /// The component `name`, if this one may call it.
    fn callee(&self, name: &str) -> Result<&Callee, Error> {
        if !self.allowed.allows_chain(name) {
            let host = format!("http://{name}.{CHAIN_DOMAIN}");
            return Err(denied(&host, &host));
        }
        let components = &self.upstreams.components;
        components
            .get(name)
            .or_else(|| components.get(name.to_ascii_lowercase().as_str()))
            .ok_or_else(|| {
                tracing::warn!(
                    component = name,
                    "a guest called a component that the application does not have"
                );
                Error::DestinationNotFound
            })
    }

    /// Calls a guest of this application, whose answer streams back while the
    /// request may still be streaming to it.
    async fn dispatch(
        &self,
        sender: Sender,
        to: To,
        name: &str,
        request: Request<Body>,
    ) -> Result<Response<Body>, Error> {
        let depth = sender.depth + 1;
        if depth > self.upstreams.max_depth {
            let error = CallError::TooDeep {
                component: name.to_owned(),
                limit: self.upstreams.max_depth,
            };
            tracing::warn!("{error}");
            return Ok(error.into_response());
        }
        let origin = Origin::Guest {
            depth,
            caller: sender.life,
        };
        let event = Event::Http(Box::new(HttpEvent {
            to,
            request,
            origin,
        }));
        match sender.call.call(event).await {
            Ok(Reply::Http(response)) => Ok(response),
            Ok(Reply::Exit(_) | Reply::Done) => Err(Error::InternalError(None)),
            // Logged where it was handled, by the dispatcher.
            Err(error) => Ok(error.into_response()),
        }
    }

    async fn network(
        &self,
        authority: &Authority,
        mut request: Request<Body>,
        options: Option<RequestOptions>,
    ) -> Result<Response<Body>, Error> {
        let scheme = request.uri().scheme_str().unwrap_or("http");
        let port = authority
            .port_u16()
            .unwrap_or(if scheme == "https" { 443 } else { 80 });
        if !self.allowed.allows(scheme, authority.host(), port) {
            let host = format!("{scheme}://{}:{port}", authority.host());
            return Err(denied(&host, &host));
        }
        // The client sets the Host header from the URI.
        request.headers_mut().remove(HOST);
        let client = &self.upstreams.client;
        client.send(Some(&self.component), request, options).await
    }
}

/// The component named by a host under `spin.internal`: exactly one label
/// before it. The whole domain is reserved, so that no such name is looked up.
fn chained_name(host: &str) -> Option<&str> {
    let host = host.trim_end_matches('.');
    let name = strip_suffix_ignore_case(host, CHAIN_DOMAIN)?;
    if name.is_empty() {
        return Some(name);
    }
    name.strip_suffix('.')
}

/// Whether `host`, with or without a port, is a name under `spin.internal`.
pub(crate) fn is_chain_host(host: &str) -> bool {
    let host = host.rsplit_once(':').map_or(host, |(host, _port)| host);
    chained_name(host).is_some()
}

fn strip_suffix_ignore_case<'a>(text: &'a str, suffix: &str) -> Option<&'a str> {
    let at = text.len().checked_sub(suffix.len())?;
    let (head, tail) = text.split_at_checked(at)?;
    tail.eq_ignore_ascii_case(suffix).then_some(head)
}

/// Requests inside the application are plain HTTP, under the callee's own name
/// and nothing else that the caller wrote before the path.
fn set_authority(request: &mut Request<Body>, authority: Authority) -> Result<(), Error> {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority);
    parts
        .path_and_query
        .get_or_insert(PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| Error::HttpRequestUriInvalid)?;
    Ok(())
}

/// Logs what to allow; the guest only learns that it is denied.
fn denied(host: &str, entry: &str) -> Error {
    tracing::warn!(
        "a request to {host} was denied: add {entry:?} to the component's allowed_outbound_hosts \
         to allow it"
    );
    Error::HttpRequestDenied
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_under_spin_internal() {
        assert_eq!(chained_name("b.spin.internal"), Some("b"));
        assert_eq!(chained_name("b.Spin.Internal"), Some("b"));
        assert_eq!(chained_name("a.b.spin.internal"), Some("a.b"));
        assert_eq!(chained_name("spin.internal"), Some(""));
        assert_eq!(chained_name("bspin.internal"), None);
        assert_eq!(chained_name("spin.internal.example.com"), None);
        assert_eq!(chained_name("é.com"), None);
    }

    #[test]
    fn host_headers_under_spin_internal() {
        assert!(is_chain_host("b.spin.internal"));
        assert!(is_chain_host("B.SPIN.INTERNAL:80"));
        assert!(is_chain_host("b.spin.internal."));
        assert!(is_chain_host("b.spin.internal.:8080"));
        assert!(is_chain_host("b.spin.internal:"));
        assert!(!is_chain_host("example.com"));
        assert!(!is_chain_host("[::1]:80"));
        assert!(!is_chain_host("spin.internal.example.com"));
    }
}
