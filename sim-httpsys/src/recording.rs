//! A recording of a machine: every input with its time, and what came out of it; and the replay of one.
//!
//! ```text
//!   {"program":"httpsys",…}\n          what the machine was made with, as one line of JSON
//!   [length u32][entry] …              inputs, wake-ups and outputs, in the order in which they happened
//!   [length u32][End]                  if its process ended by itself: then this is all that there was
//! ```
//!
//! [`Recorded`] is a machine that behaves as the one inside it and writes down what it sees. Live programs
//! drive such a machine whether or not they record; without a tape it costs a branch. A machine is a
//! function of its inputs and their times, so a replay must give the same outputs: `replay` demands it,
//! and names the first one that differs. Outputs are kept as a hash of their text and its beginning, which
//! is what a difference is told by.
//!
//! Absent on purpose: what workers' handlers allocate (`memory` is given back empty) and everything that
//! happens outside of the machines.

use std::fmt::{self, Debug, Write as _};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::clockwork::{Deadline, Instant, StateMachine};

/// Of an output's text so many bytes are kept.
const TEXT_MAX: usize = 240;

/// The ending of a recording's file name.
pub const EXTENSION: &str = "tape";

/// The first line of a recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header<S> {
    /// Which program the machine was in.
    pub program: String,
    /// The process.
    pub process: u32,
    /// The version of the program: another one may decide otherwise.
    pub version: String,
    /// What the machine was made with.
    pub setup: S,
}

/// One thing that happened to a machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Entry<I> {
    /// `handle_input`.
    Input { at: Instant, input: I },
    /// `handle_deadline`.
    Deadline { at: Instant },
    /// `poll_output` gave something.
    Output { hash: u64, text: String },
    /// `poll_output` gave nothing more.
    Drained,
    /// The machine is done with; nothing follows.
    End,
}

/// Where a recording is written.
#[derive(Debug)]
pub struct Tape {
    out: BufWriter<File>,
    frame: Vec<u8>,
    /// The disk was full, or so: the rest is not recorded. A recording is never worth a server.
    torn: bool,
}

impl Tape {
    /// Begins the recording of this process below `folder`, which is made if it does not exist.
    pub fn begin<S: Serialize>(folder: &Path, program: &str, setup: S) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let process = std::process::id();
        let path = folder.join(format!("{program}-{process}.{EXTENSION}"));
        let mut out = BufWriter::new(File::create(path)?);
        let header = Header {
            program: program.to_owned(),
            process,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            setup,
        };
        serde_json::to_writer(&mut out, &header)?;
        out.write_all(b"\n")?;
        Ok(Self {
            out,
            frame: Vec::new(),
            torn: false,
        })
    }

    fn put<I: Serialize>(&mut self, entry: &Entry<I>) {
        if self.torn {
            return;
        }
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        frame.extend_from_slice(&[0; 4]);
        let mut frame = postcard::to_extend(entry, frame).expect("an input is plain data");
        let length = u32::try_from(frame.len() - 4).unwrap_or(u32::MAX);
        frame[..4].copy_from_slice(&length.to_le_bytes());
        if let Err(error) = self.out.write_all(&frame) {
            tracing::warn!(%error, "the rest of the run is not recorded");
            self.torn = true;
        }
        self.frame = frame;
    }

    fn flush(&mut self) {
        if let Err(error) = self.out.flush() {
            tracing::warn!(%error, "the rest of the run is not recorded");
            self.torn = true;
        }
    }
}

impl Drop for Tape {
    /// Whoever is killed comes past here no more, and whoever panics has not come to its end.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.put(&Entry::<()>::End);
            self.flush();
        }
    }
}

/// A machine, and the tape that sees what happens to it, if there is one.
#[derive(Debug)]
pub struct Recorded<M> {
    machine: M,
    tape: Option<Tape>,
}

impl<M> Recorded<M> {
    /// A machine that was just made, and where to record it.
    pub fn new(machine: M, tape: Option<Tape>) -> Self {
        Self { machine, tape }
    }

    /// Ends the recording, before a process dies without ado.
    pub fn end_recording(&mut self) {
        self.tape = None;
    }
}

/// Questions go to the machine; what changes it goes through the tape.
impl<M> std::ops::Deref for Recorded<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.machine
    }
}

impl<M> StateMachine for Recorded<M>
where
    M: StateMachine,
    M::Output: Debug,
    for<'a> M::Input<'a>: Serialize,
{
    type Input<'a> = M::Input<'a>;
    type Output = M::Output;
    type Timer = M::Timer;

    fn handle_input(&mut self, input: Self::Input<'_>, now: Instant) {
        if let Some(tape) = &mut self.tape {
            tape.put(&Entry::Input {
                at: now,
                input: &input,
            });
        }
        self.machine.handle_input(input, now);
    }

    fn handle_deadline(&mut self, now: Instant) {
        if let Some(tape) = &mut self.tape {
            tape.put(&Entry::<()>::Deadline { at: now });
        }
        self.machine.handle_deadline(now);
    }

    fn poll_output(&mut self) -> Option<Self::Output> {
        let output = self.machine.poll_output();
        if let Some(tape) = &mut self.tape {
            tape.put(&output.as_ref().map_or(Entry::<()>::Drained, |output| {
                let Spoken { hash, text } = Spoken::of(output);
                Entry::Output { hash, text }
            }));
        }
        output
    }

    fn next_deadline(&self) -> Option<Deadline<Self::Timer>> {
        self.machine.next_deadline()
    }
}

/// The text of an output: a hash of all of it, and its beginning.
struct Spoken {
    hash: u64,
    text: String,
}

impl Spoken {
    fn of(output: &impl Debug) -> Self {
        let mut spoken = Self {
            hash: 0xcbf2_9ce4_8422_2325,
            text: String::new(),
        };
        // A `Debug` of plain data does not fail, and neither does this sink.
        let _ = write!(spoken, "{output:?}");
        spoken
    }
}

impl fmt::Write for Spoken {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // FNV-1a: the same on every machine.
        for byte in text.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        let room = TEXT_MAX.saturating_sub(self.text.len());
        self.text.push_str(&text[..text.floor_char_boundary(room)]);
        Ok(())
    }
}

/// A recording that was read.
#[derive(Debug)]
pub struct Recording {
    path: PathBuf,
    header: String,
    entries: Vec<u8>,
}

/// Why a recording cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It does not begin with the line that says what was recorded.
    #[error("{}: not a recording: {source}", path.display())]
    Header {
        /// Which.
        path: PathBuf,
        /// What is wrong with its first line.
        source: serde_json::Error,
    },
    /// Its first line was not written to the end: its process was killed as it began.
    #[error("{}: it ends within its first line", path.display())]
    Begun {
        /// Which.
        path: PathBuf,
    },
    /// An entry cannot be understood: it is damaged, or of another version.
    #[error("{}: entry {entry} cannot be understood ({reason})", path.display())]
    Entry {
        /// Which file.
        path: PathBuf,
        /// Which entry; the first is 0.
        entry: u64,
        /// What is wrong.
        reason: String,
    },
}

/// What came of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Inputs and wake-ups that were handed to the machine.
    pub inputs: u64,
    /// Outputs that were the recorded ones.
    pub outputs: u64,
    /// The file has its end. Without it the writer was killed or the file was cut: everything before
    /// counts, and what came after is not known.
    pub is_whole: bool,
    /// The first thing that was not as recorded.
    pub difference: Option<Difference>,
}

/// The first thing that a machine did otherwise than it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The number of the entry; the first is 0.
    pub entry: u64,
    /// When, by the recorded clock.
    pub at: Instant,
    /// What was recorded.
    pub recorded: String,
    /// What the machine did.
    pub replayed: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "entry {} at {}: recorded {}, replayed {}",
            self.entry, self.at, self.recorded, self.replayed
        )
    }
}

impl Recording {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, RecordingError> {
        let bytes = std::fs::read(path).map_err(|source| RecordingError::Read {
            path: path.to_owned(),
            source,
        })?;
        let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
        let header = parts.next().unwrap_or_default();
        let path = path.to_owned();
        let Some(entries) = parts.next() else {
            return Err(RecordingError::Begun { path });
        };
        Ok(Self {
            header: String::from_utf8_lossy(header).into_owned(),
            entries: entries.to_vec(),
            path,
        })
    }

    /// Its first line, with the setup of a program; `serde_json::Value` takes that of any.
    pub fn header<S: DeserializeOwned>(&self) -> Result<Header<S>, RecordingError> {
        serde_json::from_str(&self.header).map_err(|source| RecordingError::Header {
            path: self.path.clone(),
            source,
        })
    }

    /// Hands what was recorded to a machine that is made as the recorded one was, and compares.
    pub fn replay<M>(&self, machine: &mut M) -> Result<Replayed, RecordingError>
    where
        M: StateMachine,
        M::Output: Debug,
        for<'a> M::Input<'a>: Deserialize<'a>,
    {
        let mut replayed = Replayed::default();
        let (mut rest, mut number, mut now) = (self.entries.as_slice(), 0, Instant::SWITCHED_ON);
        while !rest.is_empty() {
            let Some((frame, after)) = split_frame(rest) else {
                break;
            };
            let entry = postcard::from_bytes::<Entry<M::Input<'_>>>(frame);
            let entry = entry.map_err(|error| RecordingError::Entry {
                path: self.path.clone(),
                entry: number,
                reason: error.to_string(),
            })?;
            let difference = match entry {
                Entry::Input { at, input } => {
                    now = at;
                    replayed.inputs += 1;
                    machine.handle_input(input, at);
                    None
                }
                Entry::Deadline { at } => {
                    now = at;
                    replayed.inputs += 1;
                    wake(machine, at)
                }
                Entry::Output { hash, text } => {
                    replayed.outputs += 1;
                    compare(Some((hash, text)), machine.poll_output().as_ref())
                }
                Entry::Drained => compare(None, machine.poll_output().as_ref()),
                Entry::End if after.is_empty() => {
                    replayed.is_whole = true;
                    None
                }
                Entry::End => {
                    return Err(RecordingError::Entry {
                        path: self.path.clone(),
                        entry: number,
                        reason: format!("an end, and {} bytes after it", after.len()),
                    });
                }
            };
            if let Some((recorded, actual)) = difference {
                replayed.difference = Some(Difference {
                    entry: number,
                    at: now,
                    recorded,
                    replayed: actual,
                });
                break;
            }
            rest = after;
            number += 1;
        }
        Ok(replayed)
    }
}

/// Wakes a machine; it must have wanted to be woken.
fn wake<M: StateMachine>(machine: &mut M, at: Instant) -> Option<(String, String)> {
    let due = machine.next_deadline().map(|deadline| deadline.at);
    if due.is_some_and(|due| due <= at) {
        machine.handle_deadline(at);
        return None;
    }
    let wanted = due.map_or("never".to_owned(), |due| format!("at {due}"));
    Some((
        "a wake-up".to_owned(),
        format!("wants to be woken {wanted}"),
    ))
}

fn compare<O: Debug>(
    recorded: Option<(u64, String)>,
    output: Option<&O>,
) -> Option<(String, String)> {
    let spoken = output.map(Spoken::of);
    let hash = |spoken: &Spoken| spoken.hash;
    if recorded.as_ref().map(|(hash, _)| *hash) == spoken.as_ref().map(hash) {
        return None;
    }
    let nothing = || "no more output".to_owned();
    Some((
        recorded.map_or_else(nothing, |(_, text)| text),
        spoken.map_or_else(nothing, |spoken| spoken.text),
    ))
}

fn split_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = bytes.first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    bytes[4..].split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says the sum of what it was told, and wants to be woken at a second.
    #[derive(Debug, Default)]
    struct Adder {
        sum: u64,
        step: u64,
        said: Vec<u64>,
    }

    impl StateMachine for Adder {
        type Input<'a> = &'a str;
        type Output = u64;
        type Timer = ();

        fn handle_input(&mut self, input: &str, now: Instant) {
            self.sum += input.len() as u64 + now.0 + self.step;
            self.said.push(self.sum);
        }

        fn handle_deadline(&mut self, _now: Instant) {
            self.said.push(0);
        }

        fn poll_output(&mut self) -> Option<u64> {
            (!self.said.is_empty()).then(|| self.said.remove(0))
        }

        fn next_deadline(&self) -> Option<Deadline<()>> {
            let at = Instant(1_000_000_000);
            Some(Deadline { at, timer: () })
        }
    }

    fn recorded(folder: &Path) -> Recording {
        let tape = Tape::begin(folder, "adder", 7_u32).unwrap();
        let mut machine = Recorded::new(Adder::default(), Some(tape));
        machine.handle_input("three", Instant(1));
        while machine.poll_output().is_some() {}
        machine.handle_deadline(Instant(2_000_000_000));
        while machine.poll_output().is_some() {}
        drop(machine);
        let name = format!("adder-{}.{EXTENSION}", std::process::id());
        Recording::read(&folder.join(name)).unwrap()
    }

    #[test]
    fn the_same_machine_does_what_was_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let recording = recorded(folder.path());
        let header: Header<u32> = recording.header().unwrap();
        assert_eq!((header.program.as_str(), header.setup), ("adder", 7));
        let replayed = recording.replay(&mut Adder::default()).unwrap();
        assert_eq!(replayed.difference, None);
        assert_eq!((replayed.inputs, replayed.outputs), (2, 2));
        assert!(replayed.is_whole);
    }

    #[test]
    fn another_machine_is_told_by_its_first_output_that_differs() {
        let folder = tempfile::tempdir().unwrap();
        let mut other = Adder {
            step: 1,
            ..Adder::default()
        };
        let replayed = recorded(folder.path()).replay(&mut other).unwrap();
        let difference = replayed.difference.unwrap();
        assert_eq!((difference.entry, difference.at), (1, Instant(1)));
        assert_eq!(
            (difference.recorded.as_str(), difference.replayed.as_str()),
            ("6", "7")
        );
    }

    #[test]
    fn a_recording_whose_writer_was_killed_counts_up_to_its_last_whole_entry() {
        let folder = tempfile::tempdir().unwrap();
        let whole = recorded(folder.path()).entries;
        for left in 0..whole.len() {
            let mut recording = recorded(folder.path());
            recording.entries.truncate(left);
            let replayed = recording.replay(&mut Adder::default()).unwrap();
            assert!(!replayed.is_whole, "{left} of {}", whole.len());
            assert_eq!(replayed.difference, None);
        }
    }

    #[test]
    fn nothing_may_follow_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut recording = recorded(folder.path());
        recording.entries.push(0);
        let error = recording.replay(&mut Adder::default()).unwrap_err();
        assert!(error.to_string().contains("1 bytes after it"), "{error}");
    }
}
