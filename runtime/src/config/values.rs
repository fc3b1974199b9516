//! Who knows the values of an application's variables: the providers of the
//! runtime configuration in their order, and the container's environment last.
//!
//! What a file or the environment says is known at once; Vault has to be asked,
//! which is not done here.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::{RuntimeConfig, Secret, VariablesProvider};
use crate::app::variables::{self, ENV_PREFIX, Variables};

/// Who knows values, the first that has one first.
#[derive(Clone, Debug)]
pub struct Sources(Vec<Source>);

/// One who knows values.
#[derive(Clone)]
pub enum Source {
    /// The values that declared variables have here.
    Known(BTreeMap<String, String>),
    /// A Vault, with its KV engine of version 2.
    Vault {
        /// Where it is.
        url: String,
        /// What it knows us by.
        token: Secret,
        /// Where the engine is mounted.
        mount: String,
        /// What stands before `/<name>`.
        prefix: Option<String>,
    },
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Known(values) => f.debug_set().entries(values.keys()).finish(),
            Source::Vault { url, .. } => write!(f, "vault {url}"),
        }
    }
}

impl Sources {
    /// Those of the configuration, then the environment. `read` gives the text
    /// of a file of the container.
    ///
    /// # Errors
    /// One sentence for every file that cannot be read or understood.
    pub fn new(
        declared: &Variables,
        config: &RuntimeConfig,
        env: &[(String, String)],
        read: impl Fn(&Path) -> io::Result<String>,
    ) -> Result<Self, Vec<String>> {
        let mut sources = Vec::new();
        let mut problems = Vec::new();
        for provider in &config.variables_providers {
            sources.push(match provider {
                VariablesProvider::Static { values } => Source::Known(
                    values
                        .iter()
                        .filter(|(name, _)| declared.contains_key(*name))
                        .map(|(name, value)| (name.clone(), value.expose().to_owned()))
                        .collect(),
                ),
                VariablesProvider::Env {
                    prefix,
                    dotenv_path,
                } => {
                    let prefix = prefix.as_deref().unwrap_or(ENV_PREFIX);
                    let mut known = BTreeMap::new();
                    if let Some(path) = dotenv_path {
                        match read(path)
                            .map_err(|error| error.to_string())
                            .and_then(|text| dotenv(&text))
                        {
                            Ok(lines) => {
                                known = variables::from_env_under(prefix, declared, &lines)
                            }
                            Err(problem) => problems.push(format!(
                                "variables_provider: reading {}: {problem}",
                                path.display()
                            )),
                        }
                    }
                    known.extend(variables::from_env_under(prefix, declared, env));
                    Source::Known(known)
                }
                VariablesProvider::Vault {
                    url,
                    token,
                    mount,
                    prefix,
                } => Source::Vault {
                    url: url.clone(),
                    token: token.clone(),
                    mount: mount.clone(),
                    prefix: prefix.clone(),
                },
            });
        }
        sources.push(Source::Known(variables::from_env(declared, env)));
        if problems.is_empty() {
            Ok(Sources(sources))
        } else {
            Err(problems)
        }
    }

    /// The values, where nobody has to be asked for them.
    pub fn known(&self) -> Option<BTreeMap<String, String>> {
        let mut all = BTreeMap::new();
        for source in self.0.iter().rev() {
            match source {
                Source::Known(values) => all.extend(values.clone()),
                Source::Vault { .. } => return None,
            }
        }
        Some(all)
    }

    /// One after another.
    pub fn into_inner(self) -> Vec<Source> {
        self.0
    }
}

/// The lines `NAME=value` of a file; `export` before them, quotes around values
/// and comments are understood.
fn dotenv(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        // The line is not shown: it may hold a secret.
        let wrong = || format!("line {} is not NAME=value; correct it", number + 1);
        let (name, value) = line.split_once('=').ok_or_else(wrong)?;
        let value = unquoted(value.trim()).ok_or_else(wrong)?;
        lines.push((name.trim().to_owned(), value));
    }
    Ok(lines)
}

fn unquoted(value: &str) -> Option<String> {
    if let Some(rest) = value.strip_prefix('\'') {
        let (inside, after) = rest.split_once('\'')?;
        return ends(after).then(|| inside.to_owned());
    }
    let Some(rest) = value.strip_prefix('"') else {
        let end = value.find(" #").unwrap_or(value.len());
        return Some(value[..end].trim_end().to_owned());
    };
    let mut inside = String::new();
    let mut letters = rest.chars();
    loop {
        match letters.next()? {
            '"' => return ends(letters.as_str()).then_some(inside),
            '\\' => inside.push(match letters.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                other => other,
            }),
            other => inside.push(other),
        }
    }
}

/// Whether nothing but a comment comes.
fn ends(after: &str) -> bool {
    let after = after.trim_start();
    after.is_empty() || after.starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_dotenv_file() {
        let text = "# c\nA=1\nexport B='x # y' # z\nC=\"a\\nb\"\n\nD= plain value # c\n";
        let lines = dotenv(text).unwrap();
        let values: Vec<&str> = lines.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(values, ["1", "x # y", "a\nb", "plain value"]);
        assert!(dotenv("secret").unwrap_err().contains("line 1"));
        assert!(dotenv("A=\"open").is_err());
    }

    #[test]
    fn the_first_that_has_a_value_counts() {
        let text = r#"
            [[variables_provider]]
            type = "static"
            values = { a = "static", undeclared = "x" }
            [[variables_provider]]
            type = "env"
            prefix = "OWN"
            dotenv_path = "/.env"
        "#;
        let config = RuntimeConfig::parse(text).unwrap();
        let declared = ["a", "b", "c", "d"].map(|name| (name.to_owned(), Default::default()));
        let declared = Variables::from(declared);
        let env = [
            ("OWN_B", "own"),
            ("SPIN_VARIABLE_A", "env"),
            ("SPIN_VARIABLE_D", "env"),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let read = |_: &Path| Ok("OWN_B=file\nOWN_C=file".to_owned());
        let sources = Sources::new(&declared, &config, &env, read).unwrap();
        let known = sources.known().unwrap();
        let known: Vec<_> = known.values().map(String::as_str).collect();
        assert_eq!(known, ["static", "own", "file", "env"]);
    }
}
