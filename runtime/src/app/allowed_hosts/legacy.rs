//! `allowed_http_hosts`, what permissions were before `allowed_outbound_hosts`.

use super::pattern::Pattern;
use super::quoted;

/// Allowed every host over HTTP, and the application itself.
const ALL: &str = "insecure:allow-all";

/// Translates an old entry, `host` or `host:port` (perhaps with `http://` or
/// `https://`, which never made a difference), as Spin does: the host becomes
/// allowed over both http and https. The error is a sentence.
pub fn translate(entry: &str) -> Result<Vec<String>, String> {
    let entry = entry.trim();
    match entry {
        ALL => {
            return Ok(["http://*:*", "https://*:*", "http://self"]
                .map(Into::into)
                .into());
        }
        "self" => return Ok(vec!["http://self".into()]),
        _ => {}
    }
    let host = entry
        .strip_prefix("http://")
        .or_else(|| entry.strip_prefix("https://"));
    let host = host.unwrap_or(entry);
    let host = host.strip_suffix('/').unwrap_or(host);
    let translated = vec![format!("http://{host}"), format!("https://{host}")];
    let sound = !host.contains(['*', '/']) && translated.iter().all(|e| Pattern::parse(e).is_ok());
    if !sound {
        return Err(format!(
            "{} in allowed_http_hosts is neither a host nor a host and a port; correct it, or say \
             it in allowed_outbound_hosts",
            quoted(entry)
        ));
    }
    Ok(translated)
}
