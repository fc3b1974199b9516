//! Enough JSON to report what was seen.

/// A string.
pub(crate) fn string(text: &str) -> String {
    let mut json = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            control if control < ' ' => json.push_str(&format!("\\u{:04x}", control as u32)),
            other => json.push(other),
        }
    }
    json.push('"');
    json
}

/// A string, or null.
pub(crate) fn optional(text: Option<&str>) -> String {
    text.map_or_else(|| "null".to_owned(), string)
}

/// Pairs, in their order: `[["name","value"], ..]`.
pub(crate) fn pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let pairs: Vec<String> = pairs
        .map(|(name, value)| {
            format!(
                "[{},{}]",
                string(name),
                string(&String::from_utf8_lossy(value))
            )
        })
        .collect();
    format!("[{}]", pairs.join(","))
}
