//! Which components answer one request after another in one instance, although their interface does not ask for it
//! (`CATENA_REUSE_INSTANCES`).
//!
//! `Config` reads it, Create and `catena run` refuse ids that there are not, and the server applies it. What of an
//! instance may be used again is not decided here.

use super::guest::items;

/// The components that the setting means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReuseInstances {
    all: bool,
    ids: Vec<String>,
}

impl ReuseInstances {
    pub(super) fn parse(name: &str, value: &str) -> Result<Self, String> {
        let mut ids = Vec::new();
        for id in items(name, value)? {
            if id == "none" || id == "all" {
                return Err(format!("{name}={value}: {id:?} has to stand alone"));
            }
            crate::app::check_component_id(id).map_err(|_| {
                format!("{name}={value}: {id:?} is no component's id; give none, all or ids")
            })?;
            ids.push(id.to_owned());
        }
        Ok(Self {
            all: value.trim() == "all",
            ids,
        })
    }

    /// Whether the component is meant, by its id or with all others.
    pub fn means(&self, component: &str) -> bool {
        self.all || self.names(component)
    }

    /// Whether the component is meant by its id.
    pub fn names(&self, component: &str) -> bool {
        self.ids.iter().any(|id| id == component)
    }

    /// A sentence for each id that none of `components` has.
    pub fn unknown(&self, components: &[String]) -> Vec<String> {
        let unknown = self.ids.iter().filter(|id| !components.contains(id));
        let sentence = |id: &String| {
            format!(
                "CATENA_REUSE_INSTANCES names the component {id:?}, which the application does not \
                 have; it has: {}",
                components.join(", ")
            )
        };
        unknown.map(sentence).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> ReuseInstances {
        ReuseInstances::parse("R", value).unwrap()
    }

    #[test]
    fn components_are_meant_by_id_or_all_together() {
        assert!(!read("none").means("a"));
        assert!(read("all").means("a") && !read("all").names("a"));
        let some = read("a, b-c");
        assert!(some.means("a") && some.names("b-c") && !some.means("b"));
    }

    #[test]
    fn ids_that_there_are_not_are_said() {
        let components = ["a".to_owned(), "b".to_owned()];
        assert_eq!(read("all").unknown(&components), Vec::<String>::new());
        let unknown = read("a,c,d").unknown(&components);
        assert_eq!(unknown.len(), 2);
        assert!(
            unknown[0].contains("\"c\", which the application does not have; it has: a, b"),
            "{unknown:?}"
        );
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        for value in ["", "a,,b", "all,b", "a,none", "a b", "/a"] {
            let problem = ReuseInstances::parse("R", value).unwrap_err();
            assert!(problem.starts_with(&format!("R={value}: ")), "{problem}");
        }
    }
}
