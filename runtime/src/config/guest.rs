//! What of the container reaches its guests: variables of its environment, and
//! folders that are mounted into it. Nothing does unless a setting says so.
//!
//! `Config` reads the settings; the server chooses variables by them, and the
//! shim, which knows what is mounted, chooses folders. Nothing is opened here.

/// The variables of the container that every component sees (`CATENA_GUEST_ENV`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestEnv {
    patterns: Vec<Pattern>,
}

/// A name, or how names begin.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    text: String,
    begins: bool,
}

/// The folders of the container that components see (`CATENA_GUEST_VOLUMES`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestVolumes {
    /// What is given, in the order in which it was written.
    pub entries: Vec<VolumeEntry>,
}

/// One entry of `CATENA_GUEST_VOLUMES`: `[component=]<path or all>[:rw]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeEntry {
    /// The only component that it is for; all of them where absent.
    pub component: Option<String>,
    /// Where it is mounted, without a slash at the end; every place where absent.
    pub path: Option<String>,
    /// Whether it may be written to, where the mount may.
    pub writable: bool,
}

impl GuestEnv {
    pub(super) fn parse(name: &str, value: &str) -> Result<Self, String> {
        let mut patterns = Vec::new();
        for item in items(name, value)? {
            let begins = item.strip_suffix('*');
            let text = begins.unwrap_or(item);
            if item == "none" || item == "all" {
                return Err(format!("{name}={value}: {item:?} has to stand alone"));
            }
            if text.contains(|c: char| c == '*' || c == '=' || c.is_whitespace()) {
                return Err(format!(
                    "{name}={value}: {item:?} is no name of a variable; give names, with a * only \
                     at an end (DB_*)"
                ));
            }
            patterns.push(Pattern {
                text: text.to_owned(),
                begins: begins.is_some(),
            });
        }
        if value.trim() == "all" {
            patterns.push(Pattern {
                text: String::new(),
                begins: true,
            });
        }
        Ok(Self { patterns })
    }

    /// The environment of a component: its own, and what is let through of the
    /// container's. Its own wins.
    pub fn around(
        &self,
        own: &[(String, String)],
        container: &[(String, String)],
    ) -> Vec<(String, String)> {
        let mut env: Vec<(String, String)> = Vec::new();
        // The last of a name counts, as in a shell.
        for (name, value) in container.iter().rev().filter(|(name, _)| self.lets(name)) {
            let taken = |env: &[(String, String)]| env.iter().any(|(other, _)| other == name);
            if !taken(own) && !taken(&env) {
                env.push((name.clone(), value.clone()));
            }
        }
        env.reverse();
        env.extend_from_slice(own);
        env
    }

    fn lets(&self, name: &str) -> bool {
        self.patterns.iter().any(|pattern| {
            let matches = match pattern.begins {
                true => name.starts_with(&pattern.text),
                false => name == pattern.text,
            };
            // `S*` does not mean catena's own settings; `SPIN_VARIABLE_*` does.
            matches && (!is_setting(name) || is_setting(&pattern.text))
        })
    }
}

/// Whether a variable is for catena, so that `all` does not mean it.
fn is_setting(name: &str) -> bool {
    name.starts_with("CATENA_")
        || name.starts_with("SPIN_")
        || name == "RUST_LOG"
        || name == "SSL_CERT_FILE"
}

impl GuestVolumes {
    pub(super) fn parse(name: &str, value: &str) -> Result<Self, String> {
        let mut entries = Vec::new();
        if value.trim() == "all" {
            entries.push(VolumeEntry {
                component: None,
                path: None,
                writable: false,
            });
        }
        for item in items(name, value)? {
            let entry = entry(item).map_err(|reason| format!("{name}={value}: {item:?} {reason}"));
            entries.push(entry?);
        }
        Ok(Self { entries })
    }
}

fn entry(item: &str) -> Result<VolumeEntry, String> {
    let (component, rest) = match item.split_once('=') {
        Some((component, rest)) if !component.starts_with('/') => {
            crate::app::check_component_id(component)
                .map_err(|_| "names no component before \"=\"".to_owned())?;
            (Some(component.to_owned()), rest)
        }
        _ => (None, item),
    };
    let (place, writable) = match rest.rsplit_once(':') {
        Some((place, "rw")) => (place, true),
        Some((place, "ro")) => (place, false),
        _ => (rest, false),
    };
    let path = match place {
        "all" => None,
        "none" => return Err("has to stand alone".to_owned()),
        _ => Some(mount_point(place)?),
    };
    Ok(VolumeEntry {
        component,
        path,
        writable,
    })
}

/// A mount point as it is compared and shown to guests: absolute, without empty
/// parts, `.` and a slash at the end.
///
/// # Errors
/// What is wrong with it, to be put after it.
pub fn mount_point(path: &str) -> Result<String, String> {
    if !path.starts_with('/') {
        return Err(
            "is no path; name a mount point in the container, such as /etc/app or api=/data:rw"
                .to_owned(),
        );
    }
    let mut clean = String::new();
    for part in path.split('/').filter(|part| !["", "."].contains(part)) {
        if part == ".." {
            return Err("holds \"..\"; name the mount point itself".to_owned());
        }
        clean.push('/');
        clean.push_str(part);
    }
    match clean.is_empty() {
        true => Err("is the root of the container, which is no volume".to_owned()),
        false => Ok(clean),
    }
}

/// The entries of a list; none for the words `none` and `all` where they stand alone.
pub(super) fn items<'a>(name: &str, value: &'a str) -> Result<Vec<&'a str>, String> {
    if ["none", "all"].contains(&value.trim()) {
        return Ok(Vec::new());
    }
    let items: Vec<&str> = value.split(',').map(str::trim).collect();
    match items.iter().any(|item| item.is_empty()) {
        true => Err(format!(
            "{name}={value}: an entry is empty; give none, all or a list with commas"
        )),
        false => Ok(items),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    fn names(setting: &str, own: &[(&str, &str)]) -> String {
        let container = pairs(&[
            ("DB_HOST", "first"),
            ("PATH", "/bin"),
            ("DB_HOST", "db"),
            ("DB_PORT", "5432"),
            ("RUST_LOG", "info"),
            ("SSL_CERT_FILE", "/ca.pem"),
            ("CATENA_GUEST_ENV", setting),
            ("SPIN_VARIABLE_TOKEN", "secret"),
        ]);
        let env = GuestEnv::parse("CATENA_GUEST_ENV", setting).unwrap();
        let seen = env.around(&pairs(own), &container);
        let seen: Vec<_> = seen
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        seen.join(" ")
    }

    #[test]
    fn variables_are_let_through_by_name() {
        assert_eq!(names("none", &[("A", "own")]), "A=own");
        assert_eq!(names("all", &[]), "PATH=/bin DB_HOST=db DB_PORT=5432");
        assert_eq!(names("DB_PORT, NOT_THERE", &[]), "DB_PORT=5432");
        assert_eq!(names("DB_*", &[]), "DB_HOST=db DB_PORT=5432");
        assert_eq!(names("*", &[]), names("all", &[]));
    }

    #[test]
    fn a_components_own_variable_wins() {
        assert_eq!(
            names("all", &[("DB_HOST", "own")]),
            "PATH=/bin DB_PORT=5432 DB_HOST=own"
        );
    }

    #[test]
    fn settings_of_catena_only_by_their_names() {
        assert_eq!(names("S*,C*,R*", &[]), "");
        assert_eq!(names("RUST_LOG", &[]), "RUST_LOG=info");
        assert_eq!(names("SPIN_VARIABLE_*", &[]), "SPIN_VARIABLE_TOKEN=secret");
    }

    #[test]
    fn volumes_are_read() {
        let read = |value: &str| GuestVolumes::parse("V", value).unwrap().entries;
        let entry = |component: Option<&str>, path: Option<&str>, writable| VolumeEntry {
            component: component.map(str::to_owned),
            path: path.map(str::to_owned),
            writable,
        };
        assert_eq!(read("none"), []);
        assert_eq!(read("all"), [entry(None, None, false)]);
        assert_eq!(
            read("all:rw,/etc/app/ , api=//data/.:rw,b=all,/a=b:ro,/c:d"),
            [
                entry(None, None, true),
                entry(None, Some("/etc/app"), false),
                entry(Some("api"), Some("/data"), true),
                entry(Some("b"), None, false),
                entry(None, Some("/a=b"), false),
                entry(None, Some("/c:d"), false),
            ]
        );
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        for value in ["", "A,,B", "all,B", "none,B", "A B", "A=B", "*_A", "A**"] {
            let problem = GuestEnv::parse("E", value).unwrap_err();
            assert!(problem.starts_with(&format!("E={value}: ")), "{problem}");
        }
        for value in [
            "", "/a,", "none,/a", "data", "/", "/a/../b", "a b=/c", "=/c", "api=", "api=none",
        ] {
            let problem = GuestVolumes::parse("V", value).unwrap_err();
            assert!(problem.starts_with(&format!("V={value}: ")), "{problem}");
        }
    }
}
