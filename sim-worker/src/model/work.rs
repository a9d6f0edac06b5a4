//! Work that a worker has done for it, and what comes of it.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use sim_httpsys::api::UrlContext;
use sim_httpsys::id_slab::Id;

/// The number of a piece of work that a worker has asked for.
#[derive(
    serde::Serialize, serde::Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub struct WorkId(pub u64);

impl Id for WorkId {
    fn number(self) -> u64 {
        self.0
    }
}

/// Work that the model cannot do itself, because it takes a thread, a disk or the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Allocate and touch so many bytes, then burn so much CPU time, on one thread.
    Run {
        /// CPU time.
        cpu: Duration,
        /// Bytes; they come back in [`Outcome::Done`].
        allocate: u64,
    },
    /// Read the first of some files that exists.
    ReadFile {
        /// The folder on this machine that nothing may leave.
        root: PathBuf,
        /// Below it, any case, segments joined by `/`; a folder counts only as the last one.
        candidates: Vec<String>,
        /// Do not read if the first that exists is this one, unchanged.
        unless: Option<(usize, FileStamp)>,
    },
    /// Say so when a file is no more as it was seen, or the code of the application is another one. Another watch
    /// for the same application takes its place.
    WatchFile {
        /// Whose file it is.
        application: UrlContext,
        /// The folder on this machine.
        root: PathBuf,
        /// In it, any case.
        file: String,
        /// How it was seen.
        seen: FileSeen,
    },
    /// The process dies now, in this way. There is no outcome.
    Die(Death),
}

/// How a process dies by its own code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Of SIGSEGV.
    SegmentationFault,
    /// Of SIGABRT.
    Abort,
    /// By `exit`.
    Exit(i32),
}

/// What came of a piece of work.
#[derive(serde::Serialize, serde::Deserialize, Clone, Debug)]
pub enum Outcome {
    /// Done; the memory that it allocated.
    Done {
        /// As many bytes as were asked for (a virtual world and a replay may give fewer).
        #[serde(skip)]
        memory: Vec<u8>,
    },
    /// What came of [`Work::ReadFile`].
    File(FileOutcome),
    /// The file of a [`Work::WatchFile`] is another one now, or there is one, or none any more; or the
    /// code of its application has changed.
    Changed,
}

/// What came of looking for files.
#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum FileOutcome {
    /// The contents of a candidate.
    Contents {
        /// Which.
        candidate: usize,
        /// Its stamp.
        stamp: FileStamp,
        /// All of it.
        #[serde(with = "bytes_as_bytes")]
        contents: Bytes,
    },
    /// It is as it was.
    Unchanged,
    /// The last candidate is a folder.
    Directory,
    /// There is none of them.
    NotFound,
    /// The process may not read it.
    Denied,
    /// It is too large to be read.
    TooLarge,
}

/// Contents inside of a recording.
mod bytes_as_bytes {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, sink: S) -> Result<S::Ok, S::Error> {
        sink.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<Bytes, D::Error> {
        Ok(Bytes::copy_from_slice(<&[u8]>::deserialize(source)?))
    }
}

/// What tells one state of a file from another.
#[derive(
    serde::Serialize, serde::Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash,
)]
pub struct FileStamp {
    /// When it was last written, nanoseconds since 1970.
    pub modified: u64,
    /// Its length.
    pub size: u64,
}

/// How a file was seen.
#[derive(serde::Serialize, serde::Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSeen {
    /// There is none.
    Absent,
    /// There is one, and it cannot be read.
    Unreadable,
    /// It can be read, and is this one.
    Readable(FileStamp),
}

impl FileOutcome {
    /// What looking for one file has shown, if it was not compared with an older one.
    #[must_use]
    pub fn seen(&self) -> Option<FileSeen> {
        match self {
            Self::Contents { stamp, .. } => Some(FileSeen::Readable(*stamp)),
            Self::Unchanged => None,
            Self::Directory | Self::NotFound => Some(FileSeen::Absent),
            Self::Denied | Self::TooLarge => Some(FileSeen::Unreadable),
        }
    }
}
