//! What an image declares: the application read from its lockfile.
//!
//! [`parse_lockfile`] turns the bytes of a locked app (version 0 or 1) into an
//! [`App`], or into one [`Refusal`] that names every reason at once. The image
//! loader calls it before anything of a container exists; the server, the
//! packer and `inspect` read the result. Nothing here opens a file, a socket
//! or an environment variable: values come in as arguments.

use std::collections::BTreeMap;

pub mod allowed_hosts;
mod component;
pub mod content;
pub mod dependency;
mod json;
mod lockfile;
mod refusal;
pub mod requirements;
mod retain;
pub mod routes;
mod trigger;
pub mod variables;

pub use component::check_component_id;
pub use dependency::{Dependency, DependencyName, Inherit, Power};
pub use lockfile::parse_lockfile;
pub use refusal::{Problem, ProblemKind, Refusal};
pub use trigger::{
    CommandTrigger, CronTrigger, HttpExecutor, HttpRoute, HttpTarget, HttpTrigger, MqttServer,
    MqttTrigger, RedisTrigger, SqsTrigger, StaticResponse, Trigger,
};

/// A whole application: its components, and the triggers that wake them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// The application's name; `unnamed` when the lockfile gives none.
    pub name: String,
    /// The application's own version, as free text.
    pub version: Option<String>,
    /// What the application says about itself.
    pub description: Option<String>,
    /// The lockfile's version, 0 or 1.
    pub lock_version: u64,
    /// The required host requirements, all of them understood, sorted.
    pub requirements: Vec<String>,
    /// The components in the lockfile's order; their ids are unique.
    pub components: Vec<Component>,
    /// The triggers in the lockfile's order; each names a component that exists.
    pub triggers: Vec<Trigger>,
    /// The application's variables by name.
    pub variables: BTreeMap<String, Variable>,
    /// What is odd but harmless, as sentences for the log.
    pub warnings: Vec<String>,
}

impl App {
    /// The component of this id.
    pub fn component(&self, id: &str) -> Option<&Component> {
        self.components.iter().find(|component| component.id == id)
    }

    /// The HTTP triggers, in order.
    pub fn http_triggers(&self) -> impl Iterator<Item = &HttpTrigger> {
        self.triggers.iter().filter_map(|trigger| match trigger {
            Trigger::Http(http) => Some(http),
            _ => None,
        })
    }

    /// The arguments with which a component runs for a request that came by no
    /// route, where a trigger gives it the wagi executor: those of the first one.
    pub fn wagi(&self, component: &str) -> Option<&str> {
        self.http_triggers()
            .find_map(|trigger| match (&trigger.target, &trigger.executor) {
                (HttpTarget::Component(id), HttpExecutor::Wagi { argv }) if id == component => {
                    Some(argv.as_str())
                }
                _ => None,
            })
    }

    /// The command triggers, in order.
    pub fn command_triggers(&self) -> impl Iterator<Item = &CommandTrigger> {
        self.triggers.iter().filter_map(|trigger| match trigger {
            Trigger::Command(command) => Some(command),
            _ => None,
        })
    }
}

/// One wasm unit of an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// The id that triggers and chained requests name.
    pub id: String,
    /// What the component says about itself.
    pub description: Option<String>,
    /// Where its wasm is.
    pub source: Content,
    /// The components that satisfy its imports, by their names, which are unique.
    pub dependencies: Vec<Dependency>,
    /// The environment of its instances.
    pub env: Vec<(String, String)>,
    /// The files its instances see.
    pub files: Vec<FileMount>,
    /// Configuration keys; the values are templates for [`variables`].
    pub config: BTreeMap<String, String>,
    /// Allowed outbound hosts as written, templates and all. The legacy
    /// `allowed_http_hosts` are already translated into this form.
    pub allowed_hosts: Vec<String>,
    /// The labels of the key-value stores it may open.
    pub key_value_stores: Vec<String>,
    /// The labels of the SQLite databases it may open.
    pub databases: Vec<String>,
    /// The names of the AI models it may call.
    pub ai_models: Vec<String>,
}

/// A reference to bytes: at least one of the three places is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// The media type, where the lockfile gives one.
    pub content_type: Option<String>,
    /// A `file://` path or another URL.
    pub source: Option<String>,
    /// The bytes themselves.
    pub inline: Option<Vec<u8>>,
    /// `sha256:` and 64 lower-case hex digits.
    pub digest: Option<String>,
}

/// A file, or a directory of files, that a component's instances see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileMount {
    /// Where the bytes are.
    pub content: Content,
    /// The guest's path: relative, without `..`, empty parts or NUL, so that
    /// joining it to a directory stays inside that directory. Empty stands
    /// for the guest's root, for a `content` that is a directory.
    pub path: String,
}

/// A variable that an operator may set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variable {
    /// What the variable is for.
    pub description: Option<String>,
    /// Its value when nobody provides one; `None` means that one must.
    pub default: Option<String>,
    /// Whether its value must not be shown.
    pub secret: bool,
}
