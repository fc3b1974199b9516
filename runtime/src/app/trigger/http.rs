//! Reads the configuration of an HTTP trigger, for the reader of triggers.

use ::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{
    HttpExecutor, HttpRoute, HttpTarget, HttpTrigger, StaticResponse, refuse_unknown_fields,
};
use crate::app::json::{Node, Report, quoted};
use crate::app::routes;

/// Headers that say how a message is framed, which is the server's business.
const FRAMING: [HeaderName; 5] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Reads the configuration of an HTTP trigger.
pub(super) fn read(
    config: &Node<'_>,
    id: String,
    component: Option<String>,
    who: &str,
    report: &mut Report,
) -> Option<HttpTrigger> {
    refuse_unknown_fields(
        config,
        &["component", "static_response", "route", "executor"],
        who,
        report,
    );
    let executor = read_executor(config, who, report);
    let route = read_route(config, who, report);
    let target = match (config.field("component"), config.field("static_response")) {
        (Some(_), None) => component.map(HttpTarget::Component),
        (None, Some(response)) => {
            read_static_response(&response, who, report).map(HttpTarget::Static)
        }
        (Some(_), Some(_)) => {
            report.malformed(format!(
                "{who} has both a component and a static_response; keep one of them"
            ));
            None
        }
        (None, None) => {
            report.malformed(format!(
                "{who} has neither a component nor a static_response; give it one of them"
            ));
            None
        }
    };
    let (target, route, executor) = (target?, route?, executor?);
    if matches!(
        (&target, &route),
        (HttpTarget::Static(_), HttpRoute::Private)
    ) {
        report.warn(format!(
            "{who} is a private static response, which nobody can ever ask for"
        ));
    }
    Some(HttpTrigger {
        id,
        target,
        route,
        executor,
    })
}

fn read_route(config: &Node<'_>, who: &str, report: &mut Report) -> Option<HttpRoute> {
    let route = config.required("route", report)?;
    if route.is_object() {
        refuse_unknown_fields(&route, &["private"], who, report);
        return match route.required("private", report)?.bool(report)? {
            true => Some(HttpRoute::Private),
            false => {
                report.malformed(format!(
                    "{}.private is false; write true, or give the route as a string",
                    route.at()
                ));
                None
            }
        };
    }
    let Some(pattern) = route.as_str() else {
        report.malformed(format!(
            "{} must be a string or {{\"private\": true}}",
            route.at()
        ));
        return None;
    };
    match routes::check(pattern) {
        Ok(()) => Some(HttpRoute::Path(pattern.to_owned())),
        Err(reason) => {
            report.malformed(format!("{who}: {reason}"));
            None
        }
    }
}

/// The arguments of a CGI program unless the lockfile says otherwise.
const ARGV: &str = "${SCRIPT_NAME} ${ARGS}";

fn read_executor(config: &Node<'_>, who: &str, report: &mut Report) -> Option<HttpExecutor> {
    let Some(node) = config.field("executor") else {
        return Some(HttpExecutor::Http);
    };
    let executor = node.object(report)?;
    match executor.required_str("type", report)? {
        "http" | "spin" => Some(HttpExecutor::Http),
        "wagi" => {
            refuse_unknown_fields(&executor, &["type", "argv", "entrypoint"], who, report);
            if let Some(entrypoint) = executor.optional_str("entrypoint", report)
                && entrypoint != "_start"
            {
                report.unmet(format!(
                    "{who} gives the wagi executor the entrypoint {}, but catena runs only \
                     \"_start\"; leave it out",
                    quoted(entrypoint)
                ));
            }
            let argv = executor.optional_str("argv", report).unwrap_or(ARGV);
            Some(HttpExecutor::Wagi {
                argv: argv.to_owned(),
            })
        }
        other => {
            report.unmet(format!(
                "{who} asks for the executor {}, which catena does not know; use the http executor",
                quoted(other)
            ));
            None
        }
    }
}

fn read_static_response(node: &Node<'_>, who: &str, report: &mut Report) -> Option<StaticResponse> {
    let node = node.clone().object(report)?;
    let before = report.found();
    refuse_unknown_fields(&node, &["status_code", "headers", "body"], who, report);
    let status = match node.field("status_code") {
        None => Some(StatusCode::OK),
        Some(code) => code
            .uint(report)
            .and_then(|code| read_status(code, who, report)),
    };
    let mut headers = HeaderMap::new();
    for (name, value, place) in node.string_map("headers", report) {
        match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            (Ok(name), Ok(_)) if FRAMING.contains(&name) => report.malformed(format!(
                "{} is a header that catena sets itself; remove it",
                place.at()
            )),
            (Ok(name), Ok(value)) => {
                headers.append(name, value);
            }
            (Err(_), _) => report.malformed(format!(
                "{who}: {} cannot be the name of a header; correct it",
                quoted(name)
            )),
            (_, Err(_)) => report.malformed(format!(
                "{} is {}, which cannot be the value of a header; correct it",
                place.at(),
                quoted(value)
            )),
        }
    }
    let body = node
        .optional_str("body", report)
        .unwrap_or_default()
        .as_bytes()
        .to_vec();
    let response = StaticResponse {
        status: status?,
        headers,
        body,
    };
    (report.found() == before).then_some(response)
}

fn read_status(code: u64, who: &str, report: &mut Report) -> Option<StatusCode> {
    let status = u16::try_from(code)
        .ok()
        .and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.filter(|status| !status.is_informational());
    if status.is_none() {
        report.malformed(format!(
            "{who}: the status_code {code} cannot end a response; use one from 200 to 999"
        ));
    }
    status
}
