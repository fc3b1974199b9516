//! The modes of TLS that libpq has and the client does not know.

use std::borrow::Cow;
use std::ops::Range;

/// Modes that ask for what is always done here where TLS is required: to verify
/// the certificate and its name.
const VERIFYING: [&str; 2] = ["verify-ca", "verify-full"];

/// An address with the mode `require` in place of one that asks to verify.
pub(super) fn known(address: &str) -> Cow<'_, str> {
    let found = if address.starts_with("postgres://") || address.starts_with("postgresql://") {
        in_url(address)
    } else {
        in_pairs(address)
    };
    match found.filter(|place| VERIFYING.contains(&&address[place.clone()])) {
        Some(place) => {
            let (before, after) = (&address[..place.start], &address[place.end..]);
            Cow::Owned(format!("{before}require{after}"))
        }
        None => Cow::Borrowed(address),
    }
}

/// Where the mode stands in a URL.
fn in_url(address: &str) -> Option<Range<usize>> {
    // A password may hold a question mark.
    let host = address.find('@').unwrap_or(0);
    let mut at = host + address[host..].find('?')? + 1;
    for parameter in address[at..].split('&') {
        if let Some(mode) = parameter.strip_prefix("sslmode=") {
            let end = at + parameter.len();
            return Some(end - mode.len()..end);
        }
        at += parameter.len() + 1;
    }
    None
}

/// Where the mode stands in `name=value name='value' ..`; without its quotes.
fn in_pairs(address: &str) -> Option<Range<usize>> {
    let bytes = address.as_bytes();
    let space = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_whitespace);
    let mut at = 0;
    loop {
        while space(at) {
            at += 1;
        }
        let name = at;
        while *bytes.get(at)? != b'=' && !space(at) {
            at += 1;
        }
        let name = name..at;
        while space(at) {
            at += 1;
        }
        if *bytes.get(at)? != b'=' {
            return None;
        }
        at += 1;
        while space(at) {
            at += 1;
        }
        let quoted = bytes.get(at) == Some(&b'\'');
        at += usize::from(quoted);
        let value = at;
        while let Some(&byte) = bytes.get(at) {
            if (quoted && byte == b'\'') || (!quoted && byte.is_ascii_whitespace()) {
                break;
            }
            at += if byte == b'\\' { 2 } else { 1 };
        }
        if &bytes[name] == b"sslmode" {
            return Some(value..at.min(bytes.len()));
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_that_verify_become_the_one_that_does() {
        for (address, wanted) in [
            (
                "host=a sslmode=verify-full user=b",
                "host=a sslmode=require user=b",
            ),
            ("sslmode = 'verify-ca'", "sslmode = 'require'"),
            (
                "postgres://u:p?w@h/d?a=b&sslmode=verify-full&c=d",
                "postgres://u:p?w@h/d?a=b&sslmode=require&c=d",
            ),
            (
                "postgresql://h?sslmode=verify-ca",
                "postgresql://h?sslmode=require",
            ),
        ] {
            assert_eq!(known(address), wanted);
        }
    }

    #[test]
    fn everything_else_stays() {
        for address in [
            "",
            "host",
            "host=a sslmode=disable",
            "host=a sslmode=verify",
            "password='sslmode=verify-full' host=a",
            "password=\\ sslmode=verify-full",
            "password='it\\' sslmode=verify-full",
            "sslmode='verify-full\\",
            "postgres://u:sslmode=verify-full@h/d",
            "postgres://h/sslmode=verify-full",
            "ü=ü sslmode=ü",
        ] {
            assert_eq!(known(address), address);
        }
    }
}
