//! Running only some of an application's components: `SPIN_COMPONENTS_TO_RETAIN`.
//!
//! The triggers of the others go with them. A component that is kept must not
//! name one that is not in its allowed hosts: it would fail at its first call.

use std::collections::BTreeSet;

use super::json::quoted;
use super::{App, HttpTarget, ProblemKind, Refusal, Trigger, allowed_hosts};

/// The setting: names of components, separated by commas.
const NAME: &str = "SPIN_COMPONENTS_TO_RETAIN";

impl App {
    /// The application as the environment asks for it: whole, or some of its
    /// components.
    ///
    /// # Errors
    /// Every name that is no component's, and every kept component that calls
    /// one that is not kept.
    pub fn retained(&self, env: &[(String, String)]) -> Result<App, Refusal> {
        let Some((_, value)) = env.iter().rev().find(|(name, _)| name == NAME) else {
            return Ok(self.clone());
        };
        let names = value.split(',').map(str::trim);
        let kept: BTreeSet<&str> = names.filter(|name| !name.is_empty()).collect();
        let mut refusal = Refusal::default();
        let there: Vec<&str> = self.components.iter().map(|one| one.id.as_str()).collect();
        if kept.is_empty() {
            let text = format!("{NAME} names no component; name some or remove it");
            refusal.push(ProblemKind::Unmet, text);
        }
        for name in kept.iter().filter(|name| !there.contains(name)) {
            refusal.push(
                ProblemKind::Unmet,
                format!(
                    "{NAME}: the application has no component {}; correct the name (there are: {})",
                    quoted(name),
                    there.join(", ")
                ),
            );
        }
        let components = self.components.iter();
        for component in components.filter(|one| kept.contains(one.id.as_str())) {
            for name in allowed_hosts::chaining_targets(&component.allowed_hosts) {
                let callee = there.iter().find(|id| id.eq_ignore_ascii_case(&name));
                if let Some(callee) = callee.filter(|id| !kept.contains(*id)) {
                    refusal.push(
                        ProblemKind::Unmet,
                        format!(
                            "{NAME} drops the component {callee:?}, which the component {:?} \
                             calls; keep both or neither",
                            component.id
                        ),
                    );
                }
            }
        }
        let mut app = self.clone();
        app.keep(|id| kept.contains(id));
        refusal.or(app)
    }

    /// Drops the components that are not to be kept, and their triggers.
    pub fn keep(&mut self, keep: impl Fn(&str) -> bool) {
        self.components.retain(|component| keep(&component.id));
        self.triggers.retain(|trigger| match trigger {
            Trigger::Http(http) => match &http.target {
                HttpTarget::Component(id) => keep(id),
                HttpTarget::Static(_) => true,
            },
            Trigger::Command(one) => keep(&one.component),
            Trigger::Redis(one) => keep(&one.component),
            Trigger::Mqtt(one) => keep(&one.component),
            Trigger::Cron(one) => keep(&one.component),
            Trigger::Sqs(one) => keep(&one.component),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::parse_lockfile;

    fn app() -> App {
        let component = |id: &str, hosts: &str| {
            format!(
                r#"{{"id": "{id}", "source": {{"content_type": "application/wasm",
                   "inline": "AGFzbQ=="}}, "metadata": {{"allowed_outbound_hosts": [{hosts}]}}}}"#
            )
        };
        let trigger = |id: &str| {
            format!(
                r#"{{"id": "t-{id}", "trigger_type": "http",
                   "trigger_config": {{"component": "{id}", "route": "/{id}"}}}}"#
            )
        };
        let text = format!(
            r#"{{"spin_lock_version": 0, "metadata": {{"name": "x"}},
               "triggers": [{}, {}], "components": [{}, {}, {}]}}"#,
            trigger("a"),
            trigger("b"),
            component("a", r#""http://b.spin.internal""#),
            component("b", r#""http://*.spin.internal", "https://example.com""#),
            component("c", ""),
        );
        parse_lockfile(text.as_bytes()).unwrap()
    }

    fn retained(value: &str) -> Result<App, Refusal> {
        app().retained(&[(NAME.to_owned(), value.to_owned())])
    }

    #[test]
    fn nothing_said_keeps_everything() {
        assert_eq!(app().retained(&[]).unwrap(), app());
    }

    #[test]
    fn triggers_go_with_their_components() {
        let app = retained(" b , c").unwrap();
        assert_eq!(app.components.len(), 2);
        assert_eq!(app.triggers.len(), 1);
    }

    #[test]
    fn everything_wrong_is_told_together() {
        let refusal = retained("a,d,e").unwrap_err();
        assert_eq!(refusal.problems.len(), 3, "{refusal:?}");
        assert!(refusal.problems[2].text.contains("\"b\""), "{refusal:?}");
        assert_eq!(retained(" ,").unwrap_err().problems.len(), 1);
    }
}
