//! What a hostile guest does: paths handed to the host as they are, past the C library, which would look at them first.

use guest_http::respond_text;
use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};
use wasip2::http::types::ResponseOutparam;

use crate::query::Query;

/// The names of all folders that were opened for it.
pub(crate) fn folders(out: ResponseOutparam) {
    let mut names: Vec<_> = get_directories()
        .into_iter()
        .map(|(_, name)| name)
        .collect();
    names.sort();
    respond_text(out, 200, "text/plain", &names.join("\n"));
}

/// Does `act` with the folder `volume` and with `path`; `name` and `to` are for those that take two.
pub(crate) fn act(out: ResponseOutparam, query: &Query) {
    let [volume, path, act] = ["volume", "path", "act"].map(|name| query.get(name).expect(name));
    let folder = |wanted: &str| {
        let mut all = get_directories().into_iter();
        let found = all.find(|(_, name)| name == wanted);
        found.expect("a folder of that name").0
    };
    let at = folder(volume);
    let name = query.get("name").unwrap_or_default();
    let done = match act {
        "read" => read(&at, path),
        "write" => {
            open(&at, path, OpenFlags::CREATE, DescriptorFlags::WRITE).map(|_| String::new())
        }
        "symlink" => at.symlink_at(path, name).map(|()| String::new()),
        "hardlink" => {
            let to = query.get("to").map(folder);
            let to = to.as_ref().unwrap_or(&at);
            at.link_at(PathFlags::empty(), path, to, name)
                .map(|()| String::new())
        }
        "rename" => {
            let to = query.get("to").map(folder);
            at.rename_at(path, to.as_ref().unwrap_or(&at), name)
                .map(|()| String::new())
        }
        "remove" => at.unlink_file_at(path).map(|()| String::new()),
        "mkdir" => at.create_directory_at(path).map(|()| String::new()),
        other => panic!("there is no act {other}"),
    };
    match done {
        Ok(text) => respond_text(out, 200, "text/plain", &text),
        Err(error) => respond_text(out, 403, "text/plain", error.name()),
    }
}

fn read(at: &Descriptor, path: &str) -> Result<String, ErrorCode> {
    let file = open(at, path, OpenFlags::empty(), DescriptorFlags::READ)?;
    let (bytes, _) = file.read(1 << 16, 0)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn open(
    at: &Descriptor,
    path: &str,
    how: OpenFlags,
    flags: DescriptorFlags,
) -> Result<Descriptor, ErrorCode> {
    at.open_at(PathFlags::SYMLINK_FOLLOW, path, how, flags)
}
