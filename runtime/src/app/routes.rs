//! Which trigger a path belongs to.
//!
//! A route is a path of segments: text matches itself, `:name` matches one
//! segment that is not empty, and a last `...` (or `*`) matches whatever is
//! left, also nothing. Where several routes match, they are compared segment by
//! segment from the left: text goes before `:name`, the end of the route and
//! `:name` go before `...`; so an exact route always wins, and among wildcards
//! the longest prefix.
//!
//! Paths are compared as they were sent, neither percent-decoded nor with inner
//! slashes merged; slashes at the end of a path do not matter, except that a
//! wildcard's tail keeps them.
//!
//! The server builds one [`Router`] at start and looks every request up in it;
//! a lookup allocates nothing. What is under a route is none of its business.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use http::HeaderName;

use super::json::quoted;

mod route;

pub use route::Route;

/// Routes, each with a value.
#[derive(Debug, Clone)]
pub struct Router<T> {
    /// Routes of text only, by their path without slashes at the end.
    exact: HashMap<String, (Route, T)>,
    /// All others, in the order in which they are tried.
    patterns: BTreeMap<Tried, T>,
}

/// A route among those that are tried one after the other.
#[derive(Debug, Clone)]
struct Tried(Route);

/// The best route for a path.
#[derive(Debug, Clone, Copy)]
pub struct Match<'r, 'p, T> {
    /// What was inserted with the route.
    pub value: &'r T,
    /// The route.
    pub route: &'r Route,
    /// What the wildcard matched, beginning with a slash unless it is empty;
    /// empty when the route has no wildcard. This is `spin-path-info`.
    pub path_info: &'p str,
    path: &'p str,
}

/// One `:name` of a route and the segment that it matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capture<'r, 'p> {
    /// The name, without the colon.
    pub name: &'r str,
    /// The header that tells a guest: `spin-path-match-` and the name, in lower
    /// case and with `-` for `_`.
    pub header: &'r HeaderName,
    /// The segment, as it was sent.
    pub value: &'p str,
}

/// Whether a pattern is a route; the error is a sentence.
pub fn check(pattern: &str) -> Result<(), String> {
    Route::parse(pattern).map(drop)
}

impl<T> Router<T> {
    /// A router without routes.
    pub fn new() -> Self {
        Router {
            exact: HashMap::new(),
            patterns: BTreeMap::new(),
        }
    }

    /// Adds a route. Where a route that matches the same paths is there already
    /// the new one takes its place, and the old one's value is returned. The
    /// error is a sentence.
    pub fn insert(&mut self, pattern: &str, value: T) -> Result<Option<T>, String> {
        let route = Route::parse(pattern)?;
        if let Some(path) = route.exact_path() {
            let replaced = self.exact.insert(path, (route, value));
            return Ok(replaced.map(|(_, value)| value));
        }
        let route = Tried(route);
        // Removed first: an equal route may have other names, which go with it.
        let replaced = self.patterns.remove(&route);
        self.patterns.insert(route, value);
        Ok(replaced)
    }

    /// The best route for the path of a request, which begins with a slash;
    /// any other request target (`*`, an authority) has none.
    pub fn lookup<'r, 'p>(&'r self, path: &'p str) -> Option<Match<'r, 'p, T>> {
        if !path.starts_with('/') {
            return None;
        }
        let found = |route, value, path_info| Match {
            value,
            route,
            path_info,
            path,
        };
        if let Some((route, value)) = self.exact.get(path.trim_end_matches('/')) {
            return Some(found(route, value, ""));
        }
        self.patterns.iter().find_map(|(Tried(route), value)| {
            let path_info = route.matches(path)?;
            Some(found(route, value, path_info))
        })
    }
}

impl<T> Default for Router<T> {
    fn default() -> Self {
        Router::new()
    }
}

impl<'r, 'p, T> Match<'r, 'p, T> {
    /// What the route's names matched, from left to right.
    pub fn captures(&self) -> impl Iterator<Item = Capture<'r, 'p>> + use<'r, 'p, T> {
        self.route.captures(self.path)
    }
}

impl Ord for Tried {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.shape().cmp(other.0.shape())
    }
}

impl PartialOrd for Tried {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Tried {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Tried {}

#[cfg(test)]
mod tests;
