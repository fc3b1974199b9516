//! What the probe sees of its request and of the world.

use guest_http::respond_text;
use wasip2::http::types::{IncomingRequest, Method, ResponseOutparam, Scheme};

use crate::json;
use crate::query::Query;

pub(crate) fn request(request: &IncomingRequest, out: ResponseOutparam) {
    let headers = request.headers().entries();
    let scheme = request.scheme().map(|scheme| match scheme {
        Scheme::Http => "http".to_owned(),
        Scheme::Https => "https".to_owned(),
        Scheme::Other(other) => other,
    });
    let method = match request.method() {
        Method::Other(other) => other,
        known => format!("{known:?}")
            .trim_start_matches("Method::")
            .to_uppercase(),
    };
    let report = format!(
        "{{\"method\":{},\"path\":{},\"scheme\":{},\"authority\":{},\"headers\":{}}}\n",
        json::string(&method),
        json::optional(request.path_with_query().as_deref()),
        json::optional(scheme.as_deref()),
        json::optional(request.authority().as_deref()),
        json::pairs(
            headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_slice()))
        ),
    );
    respond_text(out, 200, "application/json", &report);
}

pub(crate) fn environment(out: ResponseOutparam) {
    let variables: Vec<_> = std::env::vars().collect();
    let arguments: Vec<_> = std::env::args()
        .map(|argument| json::string(&argument))
        .collect();
    let report = format!(
        "{{\"variables\":{},\"arguments\":[{}]}}\n",
        json::pairs(
            variables
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_bytes()))
        ),
        arguments.join(","),
    );
    respond_text(out, 200, "application/json", &report);
}

/// The file, or the names in the folder, at `path`.
pub(crate) fn file(out: ResponseOutparam, query: &Query) {
    let path = query.get("path").expect("a path");
    let seen = if std::fs::metadata(path).is_ok_and(|at| at.is_dir()) {
        std::fs::read_dir(path).map(|entries| {
            let mut names: Vec<_> = entries
                .filter_map(Result::ok)
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect();
            names.sort();
            names.join("\n")
        })
    } else {
        std::fs::read_to_string(path)
    };
    answer(out, seen.as_deref().map_err(ToString::to_string));
}

/// Writes `text` to the file at `path`.
pub(crate) fn write(out: ResponseOutparam, query: &Query) {
    let path = query.get("path").expect("a path");
    let written = std::fs::write(path, query.get("text").unwrap_or_default());
    answer(out, written.map(|()| "written").map_err(|e| e.to_string()));
}

pub(crate) fn answer(out: ResponseOutparam, result: Result<&str, String>) {
    match result {
        Ok(text) => respond_text(out, 200, "text/plain", text),
        Err(error) => respond_text(out, 403, "text/plain", &error),
    }
}
