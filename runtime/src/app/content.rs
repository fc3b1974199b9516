//! References to bytes, and the guest paths where they are mounted.
//!
//! The lockfile reader and the packer call this; it looks at names only and
//! never opens what they name.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::json::{Node, Report, quoted};
use super::{Content, FileMount};

/// Base64 with or without padding: writers of lockfiles differ.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Whether the text is `sha256:` and 64 lower-case hexadecimal digits.
pub fn is_digest(text: &str) -> bool {
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    text.strip_prefix("sha256:")
        .is_some_and(|digits| digits.len() == 64 && digits.bytes().all(hex))
}

/// The path below the guest's root that a lockfile or manifest means: without
/// the leading slash, `.` and empty parts. The error says what is wrong with
/// it, to be put after the place: "holds \"..\", ...".
pub fn guest_path(written: &str) -> Result<String, &'static str> {
    if written.contains('\0') {
        return Err("holds a NUL character, which no file name has");
    }
    if written.contains('\\') {
        return Err("holds a backslash; separate directories with \"/\"");
    }
    let mut parts = Vec::new();
    for part in written.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err("holds \"..\"; name a path that stays below the guest's root"),
            name => parts.push(name),
        }
    }
    Ok(parts.join("/"))
}

/// Reads a component's `files`.
pub(super) fn read_files(component: &Node<'_>, report: &mut Report) -> Vec<FileMount> {
    let items = component
        .field("files")
        .map(|list| list.items(report))
        .unwrap_or_default();
    let mut files: Vec<FileMount> = Vec::with_capacity(items.len());
    let mut known = std::collections::HashMap::with_capacity(items.len());
    for item in items {
        let Some(file) = read_file(&item, report) else {
            continue;
        };
        match known.get(&file.path).map(|&index: &usize| &files[index]) {
            // Overlapping globs name a file twice; that does no harm.
            Some(first) if first.content == file.content => {}
            Some(_) if !file.path.is_empty() => report.malformed(format!(
                "{}.path is {}, where another file of the component is already; keep one of them",
                item.at(),
                quoted(&file.path)
            )),
            _ => {
                known.insert(file.path.clone(), files.len());
                files.push(file);
            }
        }
    }
    files
}

fn read_file(item: &Node<'_>, report: &mut Report) -> Option<FileMount> {
    let item = item.clone().object(report)?;
    let content = read_content(&item, report);
    let written = item.required_str("path", report)?;
    let path = match guest_path(written) {
        Ok(path) => path,
        Err(reason) => {
            report.malformed(format!(
                "{}.path is {}: it {reason}",
                item.at(),
                quoted(written)
            ));
            return None;
        }
    };
    let content = content?;
    let directory = content.inline.is_none() && content.digest.is_none();
    if path.is_empty() && !directory {
        let at = item.at();
        report.malformed(format!(
            "{at}.path is {}, which names no file; name one",
            quoted(written)
        ));
        return None;
    }
    Some(FileMount { content, path })
}

/// Reads `content_type`, `source`, `inline` and `digest`.
pub(super) fn read_content(node: &Node<'_>, report: &mut Report) -> Option<Content> {
    let before = report.found();
    let content = Content {
        content_type: node
            .optional_str("content_type", report)
            .map(ToOwned::to_owned),
        source: node.optional_str("source", report).map(ToOwned::to_owned),
        inline: node
            .field("inline")
            .and_then(|inline| read_inline(&inline, report)),
        digest: node
            .field("digest")
            .and_then(|digest| read_digest(&digest, report)),
    };
    if report.found() > before {
        return None;
    }
    if content.source.is_none() && content.inline.is_none() && content.digest.is_none() {
        report.malformed(format!(
            "{} says nowhere where its bytes are; give it a \"digest\", \"inline\" bytes or a \"source\"",
            node.at()
        ));
        return None;
    }
    if content.source.as_deref() == Some("") {
        report.malformed(format!(
            "{}.source is empty; name a file or leave it out",
            node.at()
        ));
        return None;
    }
    Some(content)
}

fn read_inline(node: &Node<'_>, report: &mut Report) -> Option<Vec<u8>> {
    let text = node.str(report)?;
    match BASE64.decode(text) {
        Ok(bytes) => Some(bytes),
        Err(_) => {
            let at = node.at();
            report.malformed(format!(
                "{at} is not base64; encode the bytes as base64 (RFC 4648)"
            ));
            None
        }
    }
}

fn read_digest(node: &Node<'_>, report: &mut Report) -> Option<String> {
    let text = node.str(report)?;
    if is_digest(text) {
        return Some(text.to_owned());
    }
    report.malformed(format!(
        "{} is {}, but must be \"sha256:\" and 64 lower-case hexadecimal digits",
        node.at(),
        quoted(text)
    ));
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_exact() {
        let digits = "0123456789abcdef".repeat(4);
        assert!(is_digest(&format!("sha256:{digits}")));
        assert!(!is_digest(&digits));
        assert!(!is_digest(&format!("sha512:{digits}")));
        assert!(!is_digest(&format!("sha256:{}", digits.to_uppercase())));
        assert!(!is_digest(&format!("sha256:{digits}0")));
    }

    #[test]
    fn guest_paths_stay_below_the_root() {
        assert_eq!(guest_path("/assets/a.png"), Ok("assets/a.png".into()));
        assert_eq!(guest_path("./assets//a.png"), Ok("assets/a.png".into()));
        assert_eq!(guest_path("/"), Ok(String::new()));
        assert_eq!(guest_path("a/...b/..c"), Ok("a/...b/..c".into()));
        for bad in ["..", "a/../../b", "/../etc/passwd", "a\0b", "..\\a"] {
            assert!(guest_path(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn base64_may_be_padded_or_not() {
        assert_eq!(BASE64.decode("aGk=").unwrap(), b"hi");
        assert_eq!(BASE64.decode("aGk").unwrap(), b"hi");
    }
}
