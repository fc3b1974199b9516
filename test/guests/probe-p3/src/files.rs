//! Files over `wasi:filesystem` 0.3, with paths that go to the host as they are.

use wasip3::filesystem::preopens::get_directories;
use wasip3::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};
use wasip3::http::types::Response;
use wasip3::wit_bindgen::{StreamResult, spawn};
use wasip3::wit_stream;

use crate::body;
use crate::query::Query;

/// The file at `path`, which is below the folder `volume` where the test names one.
pub(crate) async fn file(query: &Query) -> Response {
    answer(read(query).await)
}

/// Writes `text` to it.
pub(crate) async fn write(query: &Query) -> Response {
    answer(overwrite(query).await.map(|()| "written".to_owned()))
}

fn answer(result: Result<String, ErrorCode>) -> Response {
    match result {
        Ok(text) => body::text(200, &text),
        Err(error) => body::text(403, &format!("{error:?}")),
    }
}

async fn read(query: &Query) -> Result<String, ErrorCode> {
    let file = open(query, OpenFlags::empty(), DescriptorFlags::READ).await?;
    let (mut stream, ended) = file.read_via_stream(0);
    let mut text = Vec::new();
    loop {
        let (result, bytes) = stream.read(Vec::with_capacity(4096)).await;
        text.extend(bytes);
        if !matches!(result, StreamResult::Complete(_)) {
            break;
        }
    }
    ended.await?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

async fn overwrite(query: &Query) -> Result<(), ErrorCode> {
    let how = OpenFlags::CREATE | OpenFlags::TRUNCATE;
    let file = open(query, how, DescriptorFlags::WRITE).await?;
    let (mut to, stream) = wit_stream::new();
    let text = query.get("text").unwrap_or_default().as_bytes().to_vec();
    spawn(async move {
        _ = to.write_all(text).await;
    });
    file.write_via_stream(stream, 0).await
}

async fn open(
    query: &Query,
    how: OpenFlags,
    flags: DescriptorFlags,
) -> Result<Descriptor, ErrorCode> {
    let path = query.get("path").expect("a path");
    let (folder, below) = match query.get("volume") {
        Some(volume) => (volume, path),
        None => path.rsplit_once('/').expect("an absolute path"),
    };
    let mut all = get_directories().into_iter();
    let found = all.find(|(_, name)| name == folder);
    let (folder, _) = found.ok_or(ErrorCode::NoEntry)?;
    let follow = PathFlags::SYMLINK_FOLLOW;
    folder.open_at(follow, below.to_owned(), how, flags).await
}

/// The variables, one a line.
pub(crate) fn environment() -> Response {
    let all = wasip3::cli::environment::get_environment();
    let lines: Vec<_> = all
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    body::text(200, &lines.join("\n"))
}
