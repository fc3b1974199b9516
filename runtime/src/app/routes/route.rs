//! One route: its pattern, and what a guest is told about it.

use http::{HeaderName, HeaderValue};

use super::{Capture, quoted};

/// A parsed route.
#[derive(Debug, Clone)]
pub struct Route {
    raw: String,
    segments: Vec<Segment>,
    wildcard: bool,
    headers: [(HeaderName, HeaderValue); 4],
}

#[derive(Debug, Clone)]
enum Segment {
    Text(String),
    Name { name: String, header: HeaderName },
}

/// What a segment matches, in the order in which routes are tried.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shape<'r> {
    Text(&'r str),
    Name,
    Wildcard,
}

impl Route {
    /// Parses a pattern; a missing slash in front is added, slashes at the end
    /// are dropped. The error is a sentence.
    pub fn parse(pattern: &str) -> Result<Route, String> {
        let wrong = |what: &str| Err(format!("the route {} {what}", quoted(pattern)));
        let Some(headers) = headers_of(pattern) else {
            return wrong(
                "holds a character that no request's path has; percent-encode it or remove it",
            );
        };
        let path = trimmed(pattern);
        let mut parts: Vec<&str> = if path.is_empty() {
            Vec::new()
        } else {
            path.split('/').collect()
        };
        let wildcard = matches!(parts.last(), Some(&("..." | "*")));
        if wildcard {
            parts.pop();
        }
        let mut segments = Vec::with_capacity(parts.len());
        for part in parts {
            if part.is_empty() {
                return wrong("has an empty segment; remove one of the two slashes");
            }
            if part.contains("...") || part.contains('*') {
                return wrong(
                    "has a wildcard that is not its last segment; only the end may be \"/...\"",
                );
            }
            let segment = match part.strip_prefix(':') {
                None => Segment::Text(part.to_owned()),
                Some(name) => match header_of(name) {
                    Some(header) if !names(&segments).any(|(_, other)| *other == header) => {
                        Segment::Name {
                            name: name.to_owned(),
                            header,
                        }
                    }
                    Some(_) => return wrong("uses a name twice; rename one of them"),
                    None => {
                        return wrong(
                            "has a name that is not made of letters, digits, \"-\" and \"_\"; \
                             write it as in \"/:user\"",
                        );
                    }
                },
            };
            segments.push(segment);
        }
        Ok(Route {
            raw: pattern.to_owned(),
            segments,
            wildcard,
            headers,
        })
    }

    /// The route that stands for every path; a chained request, which no route
    /// led to, is described to its guest by this one.
    pub fn everything() -> Route {
        Route {
            raw: "/...".to_owned(),
            segments: Vec::new(),
            wildcard: true,
            headers: describe(["/...", "/...", ""].map(HeaderValue::from_static)),
        }
    }

    /// The pattern as the application wrote it.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// The headers that describe this route to a guest and are the same for
    /// every request: `spin-base-path`, `spin-matched-route` (the route with
    /// its wildcard), `spin-raw-component-route` (the route as written) and
    /// `spin-component-route` (as written, without a wildcard at the end).
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// The only path that matches, without a slash at the end, when there is
    /// but one.
    pub(super) fn exact_path(&self) -> Option<String> {
        let text = self.segments.iter().map(|segment| match segment {
            Segment::Text(text) => Some(format!("/{text}")),
            Segment::Name { .. } => None,
        });
        if self.wildcard { None } else { text.collect() }
    }

    /// What routes are ordered by; equal shapes match the same paths.
    pub(super) fn shape(&self) -> impl Iterator<Item = Shape<'_>> {
        let segments = self.segments.iter().map(|segment| match segment {
            Segment::Text(text) => Shape::Text(text),
            Segment::Name { .. } => Shape::Name,
        });
        segments.chain(self.wildcard.then_some(Shape::Wildcard))
    }

    /// What the wildcard takes of a path that matches (nothing when there is
    /// no wildcard); `None` when the path does not match.
    pub(super) fn matches<'p>(&self, path: &'p str) -> Option<&'p str> {
        let mut rest = path;
        for segment in &self.segments {
            let after = rest.strip_prefix('/')?;
            let end = after.find('/').unwrap_or(after.len());
            let (part, left) = after.split_at(end);
            let fits = match segment {
                Segment::Text(text) => text == part,
                Segment::Name { .. } => !part.is_empty(),
            };
            if !fits {
                return None;
            }
            rest = left;
        }
        if self.wildcard {
            Some(rest)
        } else {
            rest.bytes().all(|b| b == b'/').then_some("")
        }
    }

    pub(super) fn captures<'r, 'p>(
        &'r self,
        path: &'p str,
    ) -> impl Iterator<Item = Capture<'r, 'p>> + use<'r, 'p> {
        let parts = path.split('/').skip(1);
        self.segments
            .iter()
            .zip(parts)
            .filter_map(|(segment, value)| match segment {
                Segment::Name { name, header } => Some(Capture {
                    name,
                    header,
                    value,
                }),
                Segment::Text(_) => None,
            })
    }
}

fn names(segments: &[Segment]) -> impl Iterator<Item = (&str, &HeaderName)> {
    segments.iter().filter_map(|segment| match segment {
        Segment::Name { name, header } => Some((name.as_str(), header)),
        Segment::Text(_) => None,
    })
}

fn header_of(name: &str) -> Option<HeaderName> {
    let usable = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if name.is_empty() || !name.bytes().all(usable) {
        return None;
    }
    let header = format!(
        "spin-path-match-{}",
        name.to_ascii_lowercase().replace('_', "-")
    );
    HeaderName::try_from(header).ok()
}

/// The pattern without the slash in front and those at the end.
fn trimmed(pattern: &str) -> &str {
    let path = pattern.strip_prefix('/').unwrap_or(pattern);
    path.trim_end_matches('/')
}

/// What guests are told about a route; `None` when it holds a character that
/// cannot stand in a path.
fn headers_of(pattern: &str) -> Option<[(HeaderName, HeaderValue); 4]> {
    let usable = |b: u8| b.is_ascii_graphic() && b != b'?' && b != b'#';
    if !pattern.bytes().all(usable) {
        return None;
    }
    let matched = format!("/{}", trimmed(pattern));
    let prefix = pattern.strip_suffix("/...");
    let prefix = prefix.or_else(|| pattern.strip_suffix("/*"));
    let value = |text: &str| HeaderValue::from_str(text).ok();
    let component = value(prefix.unwrap_or(pattern))?;
    Some(describe([value(&matched)?, value(pattern)?, component]))
}

fn describe([matched, raw, component]: [HeaderValue; 3]) -> [(HeaderName, HeaderValue); 4] {
    let root = HeaderValue::from_static("/");
    [
        (HeaderName::from_static("spin-base-path"), root),
        (HeaderName::from_static("spin-matched-route"), matched),
        (HeaderName::from_static("spin-raw-component-route"), raw),
        (HeaderName::from_static("spin-component-route"), component),
    ]
}
