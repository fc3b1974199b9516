//! Patterns for the names of files: `*` and `?` within a folder, `[a-z]` and
//! `[!a-z]`, and `**` for any number of folders.

/// Whether the pattern stands for more than the path it spells.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Whether a pattern matches a path; both use `/`.
pub(super) fn matches(pattern: &str, path: &str) -> bool {
    let parts = |text: &'_ str| {
        text.split('/')
            .filter(|part| !part.is_empty() && *part != ".")
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    matches_parts(&parts(pattern), &parts(path))
}

fn matches_parts(pattern: &[String], path: &[String]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first == "**" => {
            matches_parts(rest, path)
                || path
                    .split_first()
                    .is_some_and(|(_, below)| matches_parts(pattern, below))
        }
        (Some((first, rest)), Some((name, below))) => {
            let (first, name): (Vec<_>, Vec<_>) = (first.chars().collect(), name.chars().collect());
            matches_name(&first, &name) && matches_parts(rest, below)
        }
        _ => false,
    }
}

fn matches_name(pattern: &[char], name: &[char]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some(('*', rest)) => (0..=name.len()).any(|skipped| matches_name(rest, &name[skipped..])),
        Some(('[', rest)) if rest.contains(&']') => {
            let Some((set, rest)) = split_set(rest) else {
                return false;
            };
            name.split_first()
                .is_some_and(|(c, below)| in_set(set, *c) && matches_name(rest, below))
        }
        Some((wanted, rest)) => name
            .split_first()
            .is_some_and(|(c, below)| (*wanted == '?' || wanted == c) && matches_name(rest, below)),
    }
}

/// Splits `a-z]rest`; a `]` that comes first belongs to the set.
fn split_set(pattern: &[char]) -> Option<(&[char], &[char])> {
    let skip = usize::from(pattern.first() == Some(&'!')) + 1;
    let end = pattern.iter().skip(skip).position(|c| *c == ']')? + skip;
    Some((&pattern[..end], &pattern[end + 1..]))
}

fn in_set(set: &[char], c: char) -> bool {
    let (negated, mut set) = match set.split_first() {
        Some(('!', rest)) => (true, rest),
        _ => (false, set),
    };
    let mut found = false;
    while let Some(first) = set.first() {
        if let [low, '-', high, ..] = set {
            found |= (*low..=*high).contains(&c);
            set = &set[3..];
        } else {
            found |= *first == c;
            set = &set[1..];
        }
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_they_read() {
        for (pattern, path) in [
            ("a.txt", "a.txt"),
            ("./static/*", "static/x.css"),
            ("static/**", "static/a/b/c"),
            ("static/**/*", "static/c"),
            ("**/*.md", "README.md"),
            ("**/*.md", "a/b/c.md"),
            ("a?c[x-z].[!t]*", "abcy.md"),
            ("*", ".hidden"),
        ] {
            assert!(matches(pattern, path), "{pattern} should match {path}");
        }
        for (pattern, path) in [
            ("*.txt", "a/b.txt"),
            ("static/*", "static/a/b"),
            ("a", "ab"),
            ("[ab]", "c"),
            ("[!ab]", "a"),
            ("a/**/b", "a/c"),
        ] {
            assert!(!matches(pattern, path), "{pattern} should not match {path}");
        }
    }
}
