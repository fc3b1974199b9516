//! The node's cache of compiled code.
//!
//! An artefact is a file `<compatibility>/<sha256 of the wasm>.cwasm`, beside it
//! its own SHA-256 in `.sum`. Native code is trusted only as far as the folder
//! is: it must belong to the user that runs us and be closed to all others. A
//! file that does not match its sum is made again.
//!
//! The shim and `catena run` call it; it never compiles anything itself.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use sha2::{Digest as _, Sha256};

/// A folder of compiled code for engines of one compatibility.
#[derive(Clone, Debug)]
pub struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// Opens the cache below `root`, and makes it when it is missing.
    ///
    /// # Errors
    /// When the folder cannot be made, belongs to another user, or can be
    /// written by others.
    pub fn open(root: &Path, compatibility: &str) -> anyhow::Result<Self> {
        let dir = root.join(compatibility);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .with_context(|| format!("making the compile cache {}", dir.display()))?;
        for folder in [root, dir.as_path()] {
            let about = fs::metadata(folder)
                .with_context(|| format!("looking at the compile cache {}", folder.display()))?;
            #[expect(unsafe_code, reason = "geteuid has no wrapper in std")]
            // SAFETY: geteuid takes nothing and cannot fail.
            let me = unsafe { libc::geteuid() };
            if about.uid() != me || about.mode() & 0o022 != 0 {
                bail!(
                    "the compile cache {} belongs to user {} with mode {:03o}: native code is \
                     only taken from a folder that user {me} owns and no other user can write; \
                     change its owner and mode, or remove it",
                    folder.display(),
                    about.uid(),
                    about.mode() & 0o777,
                );
            }
        }
        Ok(Self { dir })
    }

    /// The artefact of the wasm with this digest (64 hex digits), compiled by
    /// `compile` into the file it is given when the cache lacks it or has it
    /// damaged. Only one process at a time compiles a digest.
    ///
    /// # Errors
    /// When `compile` fails, or the cache cannot be read or written.
    pub fn get_or_compile(
        &self,
        digest: &str,
        compile: impl FnOnce(&mut File) -> anyhow::Result<()>,
    ) -> anyhow::Result<File> {
        if let Some(file) = self.lookup(digest)? {
            return Ok(file);
        }
        let _lock = self.lock(digest)?;
        // Another process may have made it while we waited for the lock.
        if let Some(file) = self.lookup(digest)? {
            return Ok(file);
        }
        self.make(digest, compile)
    }

    /// The artefact of the wasm with this digest, if it is there and whole.
    ///
    /// # Errors
    /// When the cache cannot be read. A damaged artefact is no error: it is not
    /// there, and the next one takes its place.
    pub fn lookup(&self, digest: &str) -> anyhow::Result<Option<File>> {
        let path = self.path(digest, "cwasm");
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("opening {}", path.display()));
            }
        };
        let expected = match fs::read_to_string(self.path(digest, "sum")) {
            Ok(sum) => sum,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("reading the sum of {}", path.display()));
            }
        };
        let actual = sum(&mut file).with_context(|| format!("reading {}", path.display()))?;
        if actual == expected.trim_end() {
            return Ok(Some(file));
        }
        tracing::warn!(path = %path.display(), "damaged artefact in the compile cache: compiling again");
        Ok(None)
    }

    fn make(
        &self,
        digest: &str,
        compile: impl FnOnce(&mut File) -> anyhow::Result<()>,
    ) -> anyhow::Result<File> {
        let partial = self.path(digest, "partial");
        let result = (|| {
            let mut file = OpenOptions::new()
                .create(true)
                .truncate(true)
                .read(true)
                .write(true)
                .mode(0o600)
                .open(&partial)
                .with_context(|| format!("making {}", partial.display()))?;
            compile(&mut file)?;
            let sum = sum(&mut file)?;
            let sum_partial = self.path(digest, "sum.partial");
            let mut sum_file = File::create(&sum_partial)?;
            sum_file.set_permissions(Permissions::from_mode(0o600))?;
            writeln!(sum_file, "{sum}")?;
            sum_file.sync_data()?;
            file.sync_data()?;
            // The sum first: an artefact without its sum counts as damaged.
            fs::rename(&sum_partial, self.path(digest, "sum"))?;
            fs::rename(&partial, self.path(digest, "cwasm"))?;
            // A writable descriptor would forbid mapping it as a program's text
            // elsewhere and lets a holder change it: open it again to read.
            File::open(self.path(digest, "cwasm")).context("opening the new artefact")
        })();
        if result.is_err() {
            // What matters is the error above; the next attempt truncates it.
            let _ = fs::remove_file(&partial);
        }
        result.with_context(|| format!("compiling sha256:{digest} into {}", self.dir.display()))
    }

    fn lock(&self, digest: &str) -> anyhow::Result<File> {
        let path = self.path(digest, "lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("opening the lock {}", path.display()))?;
        loop {
            #[expect(unsafe_code, reason = "flock has no wrapper in std")]
            // SAFETY: the descriptor is open for as long as `file` lives.
            let result = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) };
            if result == 0 {
                return Ok(file);
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error).with_context(|| format!("locking {}", path.display()));
            }
        }
    }

    fn path(&self, digest: &str, extension: &str) -> PathBuf {
        self.dir.join(format!("{digest}.{extension}"))
    }
}

/// The SHA-256 of a whole file in hex; leaves the position at the start.
fn sum(file: &mut File) -> io::Result<String> {
    file.seek(SeekFrom::Start(0))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "00ff";

    fn open(root: &tempfile::TempDir) -> Cache {
        Cache::open(&root.path().join("cache"), "abc").unwrap()
    }

    fn compile(text: &'static str) -> impl FnOnce(&mut File) -> anyhow::Result<()> {
        move |file| Ok(file.write_all(text.as_bytes())?)
    }

    fn text(mut file: File) -> String {
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn compiles_once() {
        let root = tempfile::tempdir().unwrap();
        let cache = open(&root);
        assert_eq!(
            text(cache.get_or_compile(DIGEST, compile("one")).unwrap()),
            "one"
        );
        let again = cache.get_or_compile(DIGEST, |_| panic!("compiled twice"));
        assert_eq!(text(again.unwrap()), "one");
    }

    #[test]
    fn damaged_artefact_is_made_again() {
        let root = tempfile::tempdir().unwrap();
        let cache = open(&root);
        cache.get_or_compile(DIGEST, compile("whole")).unwrap();
        fs::write(cache.path(DIGEST, "cwasm"), "whale").unwrap();
        assert!(cache.lookup(DIGEST).unwrap().is_none());
        assert_eq!(
            text(cache.get_or_compile(DIGEST, compile("new")).unwrap()),
            "new"
        );
        fs::remove_file(cache.path(DIGEST, "sum")).unwrap();
        assert!(cache.lookup(DIGEST).unwrap().is_none());
    }

    #[test]
    fn failed_compilation_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let cache = open(&root);
        let error = cache.get_or_compile(DIGEST, |_| bail!("no")).unwrap_err();
        assert!(format!("{error:#}").ends_with(": no"), "{error:#}");
        assert!(cache.lookup(DIGEST).unwrap().is_none());
        assert_eq!(
            text(cache.get_or_compile(DIGEST, compile("yes")).unwrap()),
            "yes"
        );
    }

    #[test]
    fn folder_open_to_others_is_refused() {
        let root = tempfile::tempdir().unwrap();
        open(&root);
        let dir = root.path().join("cache");
        fs::set_permissions(&dir, Permissions::from_mode(0o777)).unwrap();
        let error = Cache::open(&dir, "abc").unwrap_err().to_string();
        assert!(error.contains("mode 777"), "{error}");
    }

    #[test]
    fn one_process_at_a_time_compiles() {
        let root = tempfile::tempdir().unwrap();
        let cache = open(&root);
        let running = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let file = cache.get_or_compile(DIGEST, |file| {
                        let before = running.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        assert_eq!(before, 0, "compiled more than once");
                        std::thread::sleep(std::time::Duration::from_millis(20));
                        Ok(file.write_all(b"x")?)
                    });
                    assert_eq!(text(file.unwrap()), "x");
                });
            }
        });
    }
}
