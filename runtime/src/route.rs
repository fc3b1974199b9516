//! Which component a path belongs to, and the `spin-*` headers by which the
//! component learns how it was reached.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderName, HeaderValue, Response, Uri};

use crate::app::routes::{Route, Router};
use crate::app::{App, HttpExecutor, HttpRoute, HttpTarget, StaticResponse};
use crate::body::Body;
use crate::call::ComponentIndex;

const PATH_INFO: HeaderName = HeaderName::from_static("spin-path-info");
const FULL_URL: HeaderName = HeaderName::from_static("spin-full-url");
const CLIENT_ADDR: HeaderName = HeaderName::from_static("spin-client-addr");

/// As many as catena sets, but for those of named segments of a route.
const SPIN_HEADERS: usize = 8;

/// What the application's routes lead to.
#[derive(Debug)]
pub(crate) enum Target {
    /// With the arguments that this route gives a CGI program.
    Component(ComponentIndex, Option<Arc<str>>),
    Static(StaticResponse),
}

/// The routes of an application.
#[derive(Debug)]
pub(crate) struct Routes {
    router: Router<Target>,
    /// How a chained request, which no route led to, is described.
    chained: Route,
}

/// Where a request goes.
pub(crate) enum Found<'a> {
    /// With the arguments for a CGI program.
    Component(ComponentIndex, Option<Arc<str>>),
    Static(&'a StaticResponse),
    Nothing,
}

impl Routes {
    /// The routes that the HTTP triggers of `app` declare. Where two triggers
    /// have the same route the last one keeps it, and `warn` is told.
    ///
    /// # Errors
    /// A sentence for a route that cannot be parsed.
    pub(crate) fn new(app: &App, mut warn: impl FnMut(String)) -> Result<Self, String> {
        let mut router = Router::new();
        for trigger in app.http_triggers() {
            let HttpRoute::Path(pattern) = &trigger.route else {
                continue;
            };
            let target = match &trigger.target {
                HttpTarget::Static(response) => Target::Static(response.clone()),
                HttpTarget::Component(id) => {
                    let argv = match &trigger.executor {
                        HttpExecutor::Wagi { argv } => Some(Arc::from(argv.as_str())),
                        HttpExecutor::Http => None,
                    };
                    Target::Component(index(app, id)?, argv)
                }
            };
            if let Some(replaced) = router.insert(pattern, target)? {
                let loser = match replaced {
                    Target::Component(index, _) => {
                        format!("component {:?}", app.components[index.0].id)
                    }
                    Target::Static(_) => "a static response".to_owned(),
                };
                warn(format!(
                    "trigger {:?} takes the route {pattern:?} from {loser}, which had it before; \
                     give them different routes",
                    trigger.id
                ));
            }
        }
        Ok(Self {
            router,
            chained: Route::everything(),
        })
    }

    /// Finds who answers a request and describes the route in its headers.
    pub(crate) fn route(&self, request: &mut Parts, client: Option<HeaderValue>) -> Found<'_> {
        let Parts { uri, headers, .. } = request;
        let Some(found) = self.router.lookup(uri.path()) else {
            return Found::Nothing;
        };
        let (component, argv) = match found.value {
            Target::Static(response) => return Found::Static(response),
            Target::Component(component, argv) => (*component, argv.clone()),
        };
        strip(headers);
        headers.reserve(SPIN_HEADERS);
        for (name, value) in found.route.headers() {
            headers.insert(name.clone(), value.clone());
        }
        for capture in found.captures() {
            insert(headers, capture.header.clone(), capture.value);
        }
        insert(headers, PATH_INFO, found.path_info);
        insert_url(headers, uri);
        if let Some(client) = client {
            headers.insert(CLIENT_ADDR, client);
        }
        Found::Component(component, argv)
    }

    /// Describes a chained request: it came by no route, so that its whole path
    /// is the path info, and it has no client (SIP-017, "Incoming request
    /// headers").
    pub(crate) fn chained(&self, request: &mut Parts) {
        let Parts { uri, headers, .. } = request;
        strip(headers);
        headers.reserve(SPIN_HEADERS);
        for (name, value) in self.chained.headers() {
            headers.insert(name.clone(), value.clone());
        }
        insert(headers, PATH_INFO, uri.path());
        insert_url(headers, uri);
    }
}

/// A static response as the listener sends it.
pub(crate) fn static_response(declared: &StaticResponse) -> Response<Body> {
    let mut response = Response::new(crate::body::full(declared.body.clone()));
    *response.status_mut() = declared.status;
    *response.headers_mut() = declared.headers.clone();
    response
}

fn index(app: &App, id: &str) -> Result<ComponentIndex, String> {
    app.components
        .iter()
        .position(|component| component.id == id)
        .map(ComponentIndex)
        .ok_or_else(|| format!("a route leads to component {id:?}, which is not defined"))
}

/// Removes what only catena may say: nobody forges `spin-*` headers.
fn strip(headers: &mut HeaderMap) {
    let forged = |name: &&HeaderName| name.as_str().starts_with("spin-");
    let names: Vec<HeaderName> = headers.keys().filter(forged).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Sets a header to a part of the request's path, which is always a valid value.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn insert_url(headers: &mut HeaderMap, uri: &Uri) {
    let scheme = uri.scheme_str().unwrap_or_default();
    let authority = uri.authority().map_or("", Authority::as_str);
    let path = uri.path_and_query().map_or("", PathAndQuery::as_str);
    let url = [scheme, "://", authority, path].concat();
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(url)) {
        headers.insert(FULL_URL, value);
    }
}
