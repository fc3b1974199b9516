//! What an application demands of its host, and what catena meets.
//!
//! `must_understand` and both levels of `host_requirements` are read as plain
//! strings, so that an entry from the future is refused by its name. A
//! required feature that catena does not know is refused even when
//! `must_understand` does not list the section that it stands in.

use std::collections::BTreeSet;

use super::json::{Node, Report, quoted};

/// In-memory calls from component to component (SIP-017).
pub const SERVICE_CHAINING: &str = "local_service_chaining";

/// Components in front of a trigger's component. The tool that pushes an image
/// composes them into it and leaves the requirement in the lockfile, so there
/// is nothing left for a host to do; a lockfile that still carries the parts,
/// as `trigger_dependencies`, is refused on their account.
pub const MIDDLEWARE: &str = "middleware";

/// `must_understand`: the application's `host_requirements` are to be met.
pub const HOST_REQUIREMENTS: &str = "host_requirements";

/// `must_understand`: the components' `host_requirements` are to be met.
pub const COMPONENT_HOST_REQUIREMENTS: &str = "component_host_requirements";

const UNDERSTOOD: [&str; 2] = [HOST_REQUIREMENTS, COMPONENT_HOST_REQUIREMENTS];
const MET: [&str; 2] = [SERVICE_CHAINING, MIDDLEWARE];
const OPTIONAL: &str = "optional";

/// Reads `must_understand`; every entry has to be known.
pub(super) fn read_must_understand(root: &Node<'_>, report: &mut Report) {
    for entry in root.strings("must_understand", report) {
        if !UNDERSTOOD.contains(&entry) {
            report.unmet(format!(
                "must_understand lists {}, which catena does not know; rebuild the application \
                 without it or use a host that supports it",
                quoted(entry)
            ));
        }
    }
}

/// Reads the `host_requirements` of the application or of a component, and
/// adds the required ones that are met to `met`. `who` begins the sentence.
pub(super) fn read_host_requirements(
    node: &Node<'_>,
    who: &str,
    met: &mut BTreeSet<String>,
    report: &mut Report,
) {
    let Some(section) = node.field("host_requirements") else {
        return;
    };
    for (name, level) in section.entries(report) {
        if level.as_str() == Some(OPTIONAL) {
            continue;
        }
        if MET.contains(&name) {
            met.insert(name.to_owned());
        } else {
            report.unmet(format!(
                "{who} requires the host feature {}, which catena does not have; make it \
                 \"optional\" or use a host that has it",
                quoted(name)
            ));
        }
    }
}
