//! The compiled code of an image is in memory once, however many containers run it: what the kernel says of each
//! worker's mappings.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use catena_test::Containerd;
use catena_test::containerd::Task;
use http::StatusCode;

/// A file on its file system: device and inode.
type File = (u64, u64);

/// What the kernel counts of mappings, in KiB.
#[derive(Debug, Default)]
struct Mapped {
    files: BTreeSet<File>,
    resident: u64,
    proportional: u64,
    shared_clean: u64,
    dirty: u64,
}

impl Mapped {
    /// The mappings of a process that may be executed and are of one of `files`.
    fn code(pid: i32, files: &BTreeSet<File>) -> Result<Self> {
        let mut mapped = Self::default();
        let mut counts = false;
        for line in fs::read_to_string(format!("/proc/{pid}/smaps"))?.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let &[name, value, ..] = &words[..] else {
                continue;
            };
            if !name.ends_with(':') {
                let file = file(&words).context("not a mapping")?;
                counts = value.contains('x') && files.contains(&file);
                if counts {
                    mapped.files.insert(file);
                }
                continue;
            }
            let field = match name {
                "Rss:" => &mut mapped.resident,
                "Pss:" => &mut mapped.proportional,
                "Shared_Clean:" => &mut mapped.shared_clean,
                "Shared_Dirty:" | "Private_Dirty:" => &mut mapped.dirty,
                _ => continue,
            };
            if counts {
                *field += value.parse::<u64>()?;
            }
        }
        Ok(mapped)
    }
}

/// The file of a mapping: `08:01 1234` are the last words before its path.
fn file(words: &[&str]) -> Option<File> {
    let (major, minor) = words.get(3)?.split_once(':')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    let device = nix::sys::stat::makedev(number(major)?, number(minor)?);
    Some((device, words.get(4)?.parse().ok()?))
}

/// All files below a folder.
fn files(folder: &Path, found: &mut BTreeSet<File>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            files(&entry.path(), found)?;
        } else {
            found.insert((metadata.dev(), metadata.ino()));
        }
    }
    Ok(())
}

/// Three containers of one image, two of them in one pod: the same file, its pages shared and none of them written to.
#[tokio::test]
async fn workers_of_an_image_share_its_compiled_code() -> Result<()> {
    let (containerd, image) = Containerd::with_app("chain")?;
    let alone = containerd.container(&image, "alone").start()?;
    let first = containerd
        .container(&image, "first")
        .in_pod("pod")
        .start()?;
    let second = containerd
        .container(&image, "second")
        .in_pod("pod")
        .start()?;
    let all: [&Task<'_>; 3] = [&alone, &first, &second];
    for task in all {
        assert_eq!(task.get("/").await?.status, StatusCode::OK);
    }
    let mut cached = BTreeSet::new();
    files(&containerd.path("cache"), &mut cached)?;
    let mapped = all.map(|task| Mapped::code(task.pid, &cached));
    let [alone, first, second] = mapped;
    let (alone, first, second) = (alone?, first?, second?);
    let told = format!("{alone:#?} {first:#?} {second:#?}");
    // A file for each component.
    assert_eq!(alone.files.len(), 3, "{told}");
    assert!(
        alone.files == first.files && first.files == second.files,
        "{told}"
    );
    for mapped in [&alone, &first, &second] {
        assert!(mapped.resident > 0, "{told}");
        assert_eq!(mapped.dirty, 0, "{told}");
        // Not all: a worker may have come to a page that no other has.
        assert!(mapped.shared_clean * 10 >= mapped.resident * 9, "{told}");
        // Three share what is shared.
        assert!(mapped.proportional * 2 < mapped.resident, "{told}");
    }
    Ok(())
}
