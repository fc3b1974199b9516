//! A root file system put together from an image's layers, without a file
//! system: names in memory, contents in a nameless file.
//!
//! Nothing is created under the names that the layers give, so no entry can
//! write outside. Symbolic links are followed inside the tree only, with its
//! root as `/`, as a container would.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use tar::EntryType;

use super::blob::{self, Blobs, Expected, Limits, Verifying};
use super::digest::Digest;
use super::error::LoadError;
use super::manifest::Part;
use super::root::{Found, too_many_links};
use super::spool::{Slice, Spool};
use super::unpack::{decompress, parts};

/// How many symbolic links one path may go through.
const MAX_LINKS: usize = 40;

/// The files of all layers.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Nodes,
    contents: File,
}

/// The builder of a tree: layers are added from the lowest up.
#[derive(Debug)]
pub(super) struct TreeBuilder {
    nodes: Nodes,
    contents: Spool,
    layer: usize,
    limits: Limits,
}

/// All names, from the root on and without a leading `/`.
#[derive(Debug, Default)]
struct Nodes(BTreeMap<PathBuf, Node>);

#[derive(Debug, Clone)]
struct Node {
    /// The layer that wrote it last, for whiteouts.
    layer: usize,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Dir,
    File {
        offset: u64,
        length: u64,
    },
    Link(PathBuf),
    /// A device, a pipe or a socket: there, and never opened.
    Special,
}

impl TreeBuilder {
    pub(super) fn new(limits: Limits) -> Result<Self, LoadError> {
        let contents = Spool::new(limits.unpacked).map_err(|source| LoadError::Io {
            act: "making a temporary file".to_owned(),
            source,
        })?;
        Ok(TreeBuilder {
            nodes: Nodes::default(),
            contents,
            layer: 0,
            limits,
        })
    }

    /// Adds a layer above those that are there. `diff_id` is the digest of its
    /// tar, as the image's configuration gives it.
    pub(super) fn add(
        &mut self,
        blobs: &dyn Blobs,
        part: &Part,
        diff_id: Option<Digest>,
    ) -> Result<(), LoadError> {
        let what = part.to_string();
        let reading = |error| LoadError::reading(&*what, error);
        let mut blob = blob::open(blobs, part, self.limits.unpacked)?;
        self.layer += 1;
        {
            let expected = Expected {
                digest: diff_id,
                size: None,
                limit: self.limits.unpacked,
            };
            let mut tar = Verifying::new(decompress(&mut blob).map_err(reading)?, expected);
            let mut archive = tar::Archive::new(&mut tar);
            for entry in archive.entries().map_err(reading)? {
                let entry = entry.map_err(reading)?;
                self.add_entry(entry).map_err(|problem| match problem {
                    Problem::Entry(reason) => LoadError::corrupt(&*what, reason),
                    Problem::Io(error) => reading(error),
                })?;
            }
            tar.drain().map_err(reading)?;
        }
        blob.drain().map_err(reading)?;
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Tree, LoadError> {
        let contents = self.contents.into_file().map_err(|source| LoadError::Io {
            act: "writing a temporary file".to_owned(),
            source,
        })?;
        Ok(Tree {
            nodes: self.nodes,
            contents,
        })
    }

    fn add_entry<R: Read>(&mut self, mut entry: tar::Entry<'_, R>) -> Result<(), Problem> {
        let path = entry.path()?.into_owned();
        let mut parts = parts(&path)?;
        let Some(name) = parts.pop() else {
            return Ok(());
        };
        let parent = self
            .nodes
            .resolve(&parts.iter().collect::<PathBuf>(), true)?;
        if let Some(hidden) = name.to_str().and_then(|name| name.strip_prefix(".wh.")) {
            self.nodes.white_out(&parent, hidden, self.layer);
            return Ok(());
        }
        let kind = match entry.header().entry_type() {
            EntryType::Directory => Kind::Dir,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let (offset, length) = self.contents.append(&mut entry)?;
                Kind::File { offset, length }
            }
            EntryType::Symlink => {
                let target = entry.link_name()?.ok_or_else(|| nameless(&path))?;
                Kind::Link(target.into_owned())
            }
            EntryType::Link => {
                self.hard_link(&path, &entry.link_name()?.ok_or_else(|| nameless(&path))?)?
            }
            EntryType::Block | EntryType::Char | EntryType::Fifo => Kind::Special,
            // Headers that describe other entries.
            _ => return Ok(()),
        };
        self.nodes.insert(
            &parent,
            name,
            Node {
                layer: self.layer,
                kind,
            },
        )?;
        if self.nodes.0.len() as u64 > self.limits.entries {
            return Err(format!(
                "has more than {} files and folders with those below it",
                self.limits.entries
            )
            .into());
        }
        Ok(())
    }

    fn hard_link(&self, path: &Path, target: &Path) -> Result<Kind, Problem> {
        let at = self
            .nodes
            .resolve(&parts(target)?.iter().collect::<PathBuf>(), false)?;
        match self.nodes.0.get(&at).map(|node| &node.kind) {
            Some(Kind::Dir) | None => Err(format!(
                "has the hard link `{}` to `{}`, which is not a file of the image",
                path.display(),
                target.display()
            )
            .into()),
            Some(kind) => Ok(kind.clone()),
        }
    }
}

impl Nodes {
    /// The path that this one leads to, with links followed; what is missing
    /// stays as it is written.
    fn resolve(&self, path: &Path, follow_last: bool) -> io::Result<PathBuf> {
        let mut todo: VecDeque<_> = path
            .components()
            .map(|part| part.as_os_str().to_owned())
            .collect();
        let mut at = PathBuf::new();
        let mut links = 0;
        while let Some(part) = todo.pop_front() {
            match Path::new(&part).components().next() {
                Some(Component::ParentDir) => {
                    at.pop();
                    continue;
                }
                Some(Component::RootDir) => {
                    at.clear();
                    continue;
                }
                Some(Component::Normal(_)) => at.push(&part),
                _ => continue,
            }
            let Some(Node {
                kind: Kind::Link(target),
                ..
            }) = self.0.get(&at)
            else {
                continue;
            };
            if todo.is_empty() && !follow_last {
                break;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(too_many_links());
            }
            at.pop();
            for part in target.components().rev() {
                todo.push_front(part.as_os_str().to_owned());
            }
        }
        Ok(at)
    }

    /// Puts a node into a folder, in place of what has its name.
    fn insert(&mut self, parent: &Path, name: OsString, node: Node) -> Result<(), Problem> {
        let path = parent.join(name);
        for above in parent
            .ancestors()
            .filter(|above| !above.as_os_str().is_empty())
        {
            match self.0.get(above).map(|node| &node.kind) {
                Some(Kind::Dir) => break,
                Some(_) => {
                    return Err(format!(
                        "has the entry `{}` below `{}`, which is not a folder",
                        path.display(),
                        above.display()
                    )
                    .into());
                }
                None => {
                    self.0.insert(
                        above.to_owned(),
                        Node {
                            layer: node.layer,
                            kind: Kind::Dir,
                        },
                    );
                }
            }
        }
        let both_dirs = matches!(node.kind, Kind::Dir)
            && self
                .0
                .get(&path)
                .is_some_and(|old| matches!(old.kind, Kind::Dir));
        if !both_dirs {
            self.remove_below(&path, |_| true);
        }
        self.0.insert(path, node);
        Ok(())
    }

    /// Hides what the layers below this one have under a name, or, for the
    /// opaque marker, all that they have in the folder. Folders may stay, empty.
    fn white_out(&mut self, parent: &Path, hidden: &str, layer: usize) {
        let older = |node: &Node| node.layer < layer && !matches!(node.kind, Kind::Dir);
        match hidden {
            ".wh..opq" => self.remove_below(parent, older),
            other if other.starts_with(".wh.") => {}
            name => {
                let path = parent.join(name);
                self.remove_below(&path, older);
                if self.0.get(&path).is_some_and(older) {
                    self.0.remove(&path);
                }
            }
        }
    }

    fn remove_below(&mut self, path: &Path, condemned: impl Fn(&Node) -> bool) {
        let below: Vec<_> = self
            .below(path)
            .filter(|(_, node)| condemned(node))
            .map(|(path, _)| path.to_owned())
            .collect();
        for path in below {
            self.0.remove(&path);
        }
    }

    /// All nodes below this path. Paths sort by their parts, so a folder's
    /// contents follow it in one run.
    fn below<'n>(&'n self, path: &'n Path) -> impl Iterator<Item = (&'n PathBuf, &'n Node)> {
        self.0
            .range(path.to_owned()..)
            .skip_while(move |(at, _)| at.as_path() == path)
            .take_while(move |(at, _)| at.starts_with(path))
    }
}

impl Tree {
    pub(super) fn find(&self, path: &Path) -> io::Result<Found<'_>> {
        let at = self.nodes.resolve(path, true)?;
        if at.as_os_str().is_empty() {
            return Ok(Found::Dir(self.names(&at)));
        }
        match self.nodes.0.get(&at).map(|node| &node.kind) {
            None => Err(io::ErrorKind::NotFound.into()),
            Some(Kind::Dir) => Ok(Found::Dir(self.names(&at))),
            Some(Kind::File { offset, length }) => Ok(Found::File(
                Box::new(Slice::new(&self.contents, *offset, *length)),
                *length,
            )),
            Some(Kind::Link(_) | Kind::Special) => Ok(Found::Special),
        }
    }

    fn names(&self, dir: &Path) -> Vec<OsString> {
        let direct = self
            .nodes
            .below(dir)
            .filter(|(path, _)| path.parent() == Some(dir));
        direct
            .filter_map(|(path, _)| path.file_name().map(ToOwned::to_owned))
            .collect()
    }
}

/// Why an entry is not added.
enum Problem {
    /// The entry is wrong; the sentence follows the layer's name.
    Entry(String),
    Io(io::Error),
}

impl From<String> for Problem {
    fn from(reason: String) -> Self {
        Problem::Entry(reason)
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Problem::Io(error)
    }
}

fn nameless(path: &Path) -> Problem {
    Problem::Entry(format!(
        "has the link `{}` without a target",
        path.display()
    ))
}
