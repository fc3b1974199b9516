//! Bytes put aside in a file without a name, and read back by offset.
//!
//! The file has no name from the start, so nothing is left behind, whatever
//! happens to the process.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write as _};
use std::os::unix::fs::FileExt as _;

use super::blob::Fault;

/// A nameless file that grows up to a limit.
#[derive(Debug)]
pub(crate) struct Spool {
    file: BufWriter<File>,
    length: u64,
    limit: u64,
}

impl Spool {
    pub(crate) fn new(limit: u64) -> io::Result<Self> {
        let file = tempfile::tempfile()?;
        Ok(Spool {
            file: BufWriter::with_capacity(1 << 16, file),
            length: 0,
            limit,
        })
    }

    /// Appends all that the reader gives; answers where it starts and how long
    /// it is.
    pub(crate) fn append(&mut self, reader: impl Read) -> io::Result<(u64, u64)> {
        let offset = self.length;
        let room = self.limit - offset;
        let length = io::copy(&mut reader.take(room.saturating_add(1)), &mut self.file)?;
        if length > room {
            return Err(io::Error::other(Fault::Limit { limit: self.limit }));
        }
        self.length += length;
        Ok((offset, length))
    }

    /// Forgets what was appended since `length` was this, so that it is written over.
    pub(crate) fn truncate(&mut self, length: u64) -> io::Result<()> {
        use std::io::{Seek as _, SeekFrom};
        self.file.seek(SeekFrom::Start(length))?;
        self.length = length;
        Ok(())
    }

    pub(crate) fn into_file(mut self) -> io::Result<File> {
        self.file.flush()?;
        self.file
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
    }
}

/// A part of a file, read without moving the file's own position.
#[derive(Debug)]
pub(crate) struct Slice<'f> {
    file: &'f File,
    offset: u64,
    left: u64,
}

impl<'f> Slice<'f> {
    pub(crate) fn new(file: &'f File, offset: u64, length: u64) -> Self {
        Slice {
            file,
            offset,
            left: length,
        }
    }

    pub(crate) fn length(&self) -> u64 {
        self.left
    }
}

impl Read for Slice<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let read = self.file.read_at(&mut buffer[..wanted], self.offset)?;
        self.offset += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}
