//! What a worker is to run, and how it travels: a memory file with the description first, then the
//! other files in a fixed order, in as many messages as they take.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use anyhow::Context as _;
use catena_runtime::engine::Concurrency;
use catena_runtime::server::Volume;
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::{Deserialize, Serialize};

use crate::channel::{Channel, FILES_PER_MESSAGE};

/// Everything that a worker needs.
#[derive(Debug)]
pub(crate) struct Assignment {
    /// The application's lockfile, checked.
    pub(crate) lockfile: Vec<u8>,
    /// The container's environment.
    pub(crate) env: Vec<(String, String)>,
    /// The components' code and files.
    pub(crate) components: Vec<ComponentFiles>,
    /// The folders of the container that they see.
    pub(crate) volumes: Vec<Volume>,
    /// The kind of engine that their code is for.
    pub(crate) concurrency: Concurrency,
    /// The host's certificate authorities.
    pub(crate) ca_roots: Option<File>,
    /// How many processors the container may use, where it is limited.
    pub(crate) processors: Option<usize>,
    /// The one command to run instead of serving.
    pub(crate) run: Option<Run>,
}

/// A component to run as a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) component: String,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
}

/// One component's open files.
#[derive(Debug)]
pub(crate) struct ComponentFiles {
    pub(crate) id: String,
    /// Compiled code, to be mapped.
    pub(crate) code: File,
    /// The folder that its guest sees.
    pub(crate) files: Option<OwnedFd>,
}

/// The description in the memory file.
#[derive(Serialize, Deserialize)]
struct Description {
    lockfile: String,
    env: Vec<(String, String)>,
    /// Each component's name, and whether it has files.
    components: Vec<(String, bool)>,
    /// Each volume's path, whether it may be written to, and who sees it.
    volumes: Vec<(String, bool, Vec<String>)>,
    concurrency: Concurrency,
    ca_roots: bool,
    processors: Option<usize>,
    run: Option<Run>,
}

/// A message with files and how many more come after it.
#[derive(Serialize, Deserialize)]
struct Parcel {
    more: usize,
}

impl Assignment {
    /// Sends it to a worker that need not be there yet.
    pub(crate) fn send(&self, channel: &Channel) -> anyhow::Result<()> {
        let description = Description {
            lockfile: String::from_utf8(self.lockfile.clone())
                .context("the lockfile is no text")?,
            env: self.env.clone(),
            components: self
                .components
                .iter()
                .map(|component| (component.id.clone(), component.files.is_some()))
                .collect(),
            volumes: self
                .volumes
                .iter()
                .map(|one| (one.path.clone(), one.writable, one.components.clone()))
                .collect(),
            concurrency: self.concurrency,
            ca_roots: self.ca_roots.is_some(),
            processors: self.processors,
            run: self.run.clone(),
        };
        let mut memory = File::from(memfd_create(c"assignment", MFdFlags::MFD_CLOEXEC)?);
        memory.write_all(&serde_json::to_vec(&description)?)?;

        let mut files: Vec<BorrowedFd<'_>> = vec![memory.as_fd()];
        files.extend(self.ca_roots.as_ref().map(|file| file.as_fd()));
        for component in &self.components {
            files.push(component.code.as_fd());
            files.extend(component.files.as_ref().map(|folder| folder.as_fd()));
        }
        files.extend(self.volumes.iter().map(|volume| volume.folder.as_fd()));
        let mut more = files.len();
        for parcel in files.chunks(FILES_PER_MESSAGE) {
            more -= parcel.len();
            channel.send(&Parcel { more }, parcel)?;
        }
        Ok(())
    }

    /// Takes it from the channel.
    pub(crate) fn receive(channel: &Channel) -> anyhow::Result<Assignment> {
        let mut files = Vec::new();
        loop {
            let (parcel, part): (Parcel, _) = channel.receive()?.context("the shim went away")?;
            files.extend(part);
            if parcel.more == 0 {
                break;
            }
        }
        let mut files = files.into_iter();
        let mut next = || files.next().context("the shim sent too few files");

        let mut memory = File::from(next()?);
        let mut text = Vec::new();
        memory.rewind()?;
        memory.read_to_end(&mut text)?;
        let description: Description = serde_json::from_slice(&text)?;
        let ca_roots = if description.ca_roots {
            Some(File::from(next()?))
        } else {
            None
        };
        let mut components = Vec::new();
        for (id, has_files) in description.components {
            let code = File::from(next()?);
            let files = if has_files { Some(next()?) } else { None };
            components.push(ComponentFiles { id, code, files });
        }
        let mut volumes = Vec::new();
        for (path, writable, components) in description.volumes {
            volumes.push(Volume {
                path,
                folder: File::from(next()?),
                writable,
                components,
            });
        }
        Ok(Assignment {
            lockfile: description.lockfile.into_bytes(),
            env: description.env,
            components,
            volumes,
            concurrency: description.concurrency,
            ca_roots,
            processors: description.processors,
            run: description.run,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_of_many_files_arrives_whole() {
        let file = |text: &str| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file
        };
        let components = (0..300).map(|number| ComponentFiles {
            id: format!("c{number}"),
            code: file(&format!("code {number}")),
            files: (number % 2 == 0).then(|| OwnedFd::from(file(&format!("files {number}")))),
        });
        let sent = Assignment {
            lockfile: b"{}".to_vec(),
            env: vec![("A".into(), "b".into())],
            components: components.collect(),
            volumes: vec![Volume {
                path: "/data".into(),
                folder: file("volume"),
                writable: true,
                components: vec!["c1".into()],
            }],
            concurrency: Concurrency::On,
            ca_roots: Some(file("roots")),
            processors: Some(2),
            run: Some(Run {
                component: "c1".into(),
                args: vec!["c1".into(), "-v".into()],
                env: Vec::new(),
            }),
        };
        let (ours, theirs) = Channel::pair().unwrap();
        sent.send(&ours).unwrap();
        let received = Assignment::receive(&theirs).unwrap();

        let text = |mut file: File| {
            let mut text = String::new();
            file.rewind().unwrap();
            file.read_to_string(&mut text).unwrap();
            text
        };
        assert_eq!(received.lockfile, b"{}");
        assert_eq!(received.env, sent.env);
        assert_eq!(received.concurrency, Concurrency::On);
        assert_eq!(received.processors, Some(2));
        assert_eq!(received.run, sent.run);
        assert_eq!(text(received.ca_roots.unwrap()), "roots");
        for volume in received.volumes {
            assert_eq!((volume.path.as_str(), volume.writable), ("/data", true));
            assert_eq!(volume.components, ["c1"]);
            assert_eq!(text(volume.folder), "volume");
        }
        assert_eq!(received.components.len(), 300);
        for (number, component) in received.components.into_iter().enumerate() {
            assert_eq!(component.id, format!("c{number}"));
            assert_eq!(text(component.code), format!("code {number}"));
            let files = component.files.map(|folder| text(File::from(folder)));
            assert_eq!(files, (number % 2 == 0).then(|| format!("files {number}")));
        }
    }
}
