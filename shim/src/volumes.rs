//! Which of a container's mounts its components see: what the specification mounts, against what
//! `CATENA_GUEST_VOLUMES` asks for. Create, exec and `catena run` call it.
//!
//! A folder is opened where it is on the node, through a mount of its own, and not in the container:
//! so the answer is known in Create, nothing else that the container mounts is seen through it, and
//! the kernel itself keeps what is read-only as it is.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use catena_runtime::config::{Config, GuestVolumes, VolumeEntry, mount_point};
use catena_runtime::server::Volume;

use crate::readonly;

/// The setting, for sentences.
pub(crate) const NAME: &str = "CATENA_GUEST_VOLUMES";

/// What a container has of the kernel or of its runtime rather than of its user.
const NOT_THE_USERS: [&str; 6] = [
    "/proc",
    "/sys",
    "/dev",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
];

/// A mount of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Where it is in the container, as [`mount_point`] writes it.
    pub(crate) place: String,
    pub(crate) source: Source,
    pub(crate) writable: bool,
    /// Whether what is mounted below its source comes with it.
    pub(crate) deep: bool,
}

/// Where what is mounted comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A path on the node.
    Path(PathBuf),
    /// A path on the node, with users of its own.
    Mapped,
    /// Nowhere: a file system of this type that is the container's own.
    Own(String),
}

/// A mount that components see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) place: String,
    pub(crate) path: PathBuf,
    pub(crate) writable: bool,
    pub(crate) deep: bool,
    /// Who sees it.
    pub(crate) components: Vec<String>,
}

impl Mount {
    /// What a specification says; nothing of a mount whose place components cannot have.
    pub(crate) fn read(mount: &oci_spec::runtime::Mount) -> Option<Mount> {
        let place = Path::new("/").join(mount.destination());
        let place = mount_point(place.to_str()?).ok()?;
        let options = mount.options().as_deref().unwrap_or_default();
        let has = |names: &[&str]| {
            options
                .iter()
                .any(|option| names.contains(&option.as_str()))
        };
        let how = options.iter().rev();
        let how = how
            .map(String::as_str)
            .find(|option| ["ro", "rro", "rw"].contains(option));
        let kind = mount.typ().as_deref().unwrap_or("none");
        let bound = kind == "bind" || has(&["bind", "rbind"]);
        let source = mount
            .source()
            .as_ref()
            .filter(|path| bound && path.is_absolute());
        let mapped = has(&["idmap", "ridmap"])
            || [mount.uid_mappings(), mount.gid_mappings()]
                .iter()
                .any(|ids| ids.as_ref().is_some_and(|ids| !ids.is_empty()));
        Some(Mount {
            place,
            source: match source {
                None => Source::Own(kind.to_owned()),
                Some(_) if mapped => Source::Mapped,
                Some(path) => Source::Path(path.clone()),
            },
            writable: how.is_none_or(|how| how == "rw"),
            deep: has(&["rbind"]),
        })
    }
}

/// What the environment asks for; nothing where that cannot be understood, which the reading of all
/// settings tells.
pub(crate) fn asked(env: &[(String, String)]) -> GuestVolumes {
    Config::of(env, NAME).guest_volumes
}

/// What the components called `components` see of `mounts`.
///
/// # Errors
/// One sentence for every entry that cannot be given.
pub(crate) fn grants(
    asked: &GuestVolumes,
    mounts: &[Mount],
    components: &[String],
) -> Result<Vec<Grant>, Vec<String>> {
    let problems = asked.entries.iter();
    let problems: Vec<String> = problems
        .filter_map(|entry| check(entry, mounts, components).err())
        .collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut grants = Vec::new();
    for (index, mount) in mounts.iter().enumerate() {
        // Of two mounts at one place the container has the last.
        let covered = mounts[index + 1..]
            .iter()
            .any(|later| later.place == mount.place);
        let entries: Vec<_> = asked
            .entries
            .iter()
            .filter(|entry| means(entry, mount))
            .collect();
        let Source::Path(path) = &mount.source else {
            continue;
        };
        if covered || entries.is_empty() || !path.is_dir() {
            continue;
        }
        for writable in [false, true] {
            let sees = |component: &&String| {
                let mut own = entries
                    .iter()
                    .filter(|entry| is_for(entry, component))
                    .peekable();
                own.peek().is_some()
                    && own.any(|entry| entry.writable && mount.writable) == writable
            };
            let components: Vec<_> = components.iter().filter(sees).cloned().collect();
            if !components.is_empty() {
                grants.push(Grant {
                    place: mount.place.clone(),
                    path: path.clone(),
                    writable,
                    deep: mount.deep,
                    components,
                });
            }
        }
    }
    Ok(grants)
}

fn means(entry: &VolumeEntry, mount: &Mount) -> bool {
    match &entry.path {
        Some(path) => *path == mount.place,
        None => is_the_users(&mount.place),
    }
}

fn is_the_users(place: &str) -> bool {
    let mut others = NOT_THE_USERS.iter();
    !others.any(|name| Path::new(place).starts_with(name))
}

fn is_for(entry: &VolumeEntry, component: &str) -> bool {
    let only = entry.component.as_ref();
    only.is_none_or(|only| only == component)
}

fn check(entry: &VolumeEntry, mounts: &[Mount], components: &[String]) -> Result<(), String> {
    if let Some(component) = &entry.component
        && !components.contains(component)
    {
        return Err(format!(
            "{NAME}: the application has no component {component:?}; correct the name (there are: \
             {})",
            components.join(", ")
        ));
    }
    let Some(path) = &entry.path else {
        return Ok(());
    };
    let Some(mount) = mounts.iter().rev().find(|mount| mount.place == *path) else {
        let there = mounts.iter().map(|mount| mount.place.as_str());
        let mut there: Vec<_> = there.filter(|place| is_the_users(place)).collect();
        if there.is_empty() {
            there.push("no volumes");
        }
        return Err(format!(
            "{NAME}: nothing is mounted at {path}; mount a volume there or correct the path \
             (mounted are: {})",
            there.join(", ")
        ));
    };
    let source = match &mount.source {
        Source::Path(source) => source,
        Source::Mapped => {
            return Err(format!(
                "{NAME}: {path} is mounted with users of its own, as in a pod with a user \
                 namespace, which components cannot be given; remove it"
            ));
        }
        Source::Own(kind) => {
            return Err(format!(
                "{NAME}: {path} is a file system of the container's own ({kind}); components can \
                 only be given what is on the node, as every volume of a pod is"
            ));
        }
    };
    match fs::metadata(source) {
        Err(error) => return Err(format!("{NAME}: {path} cannot be looked at: {error}")),
        Ok(found) if !found.is_dir() => {
            return Err(format!(
                "{NAME}: {path} is a single file, and components can only be given folders; mount \
                 the folder that holds it (without a subPath), or remove it"
            ));
        }
        Ok(_) => {}
    }
    if entry.writable && !mount.writable {
        return Err(format!(
            "{NAME}: {path} is to be written to (:rw), but is mounted read-only; leave \":rw\" out \
             or mount it writable"
        ));
    }
    Ok(())
}

impl Grant {
    /// The folder, as it is.
    pub(crate) fn open(&self) -> anyhow::Result<Volume> {
        let folder = self.folder()?;
        Ok(self.volume(folder))
    }

    /// The folder through a mount of its own.
    pub(crate) fn seal(&self) -> anyhow::Result<Volume> {
        let sealed = readonly::volume(&self.folder()?, self.writable, self.deep);
        let sealed = sealed.with_context(|| format!("closing off {}", self.path.display()))?;
        Ok(self.volume(sealed.into()))
    }

    fn folder(&self) -> anyhow::Result<File> {
        // Not to be read by ourselves: only the worker's permissions count.
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        let folder = File::options()
            .read(true)
            .custom_flags(flags)
            .open(&self.path);
        folder.with_context(|| format!("opening {} for {}", self.path.display(), self.place))
    }

    fn volume(&self, folder: File) -> Volume {
        Volume {
            path: self.place.clone(),
            folder,
            writable: self.writable,
            components: self.components.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
