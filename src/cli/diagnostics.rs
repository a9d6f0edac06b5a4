//! Where `httpsys`, `was` and `w3wp` say what is wrong: stderr, which is a file below the root that they
//! run at, and may be on a disk that is full.
//!
//! What cannot be written is dropped, and counted: how much it was is said with what can be written again.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use tracing_subscriber::fmt::MakeWriter;

/// Writes as much as possible, and never fails.
#[derive(Debug, Default)]
pub(super) struct Diagnostics {
    lost: AtomicU64,
}

impl<'a> MakeWriter<'a> for Diagnostics {
    type Writer = Unfailing<'a, io::Stderr>;

    fn make_writer(&'a self) -> Self::Writer {
        Unfailing {
            out: io::stderr(),
            lost: &self.lost,
        }
    }
}

/// One message.
pub(super) struct Unfailing<'a, W> {
    out: W,
    lost: &'a AtomicU64,
}

impl<W: Write> Write for Unfailing<'_, W> {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        let lost = self.lost.load(Ordering::Relaxed);
        let said = lost == 0 || writeln!(self.out, "{lost} messages were lost").is_ok();
        if said && self.out.write_all(message).is_ok() {
            self.lost.store(0, Ordering::Relaxed);
        } else {
            self.lost.store(lost + 1, Ordering::Relaxed);
        }
        Ok(message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush().ok();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_to_a_full_disk_are_counted() {
        let lost = AtomicU64::new(0);
        let full = std::fs::File::options().append(true).open("/dev/full");
        let mut full = Unfailing {
            out: full.unwrap(),
            lost: &lost,
        };
        full.write_all(b"one\n").unwrap();
        full.write_all(b"two\n").unwrap();
        let mut out = Unfailing {
            out: Vec::new(),
            lost: &lost,
        };
        out.write_all(b"three\n").unwrap();
        out.write_all(b"four\n").unwrap();
        let text = String::from_utf8(out.out).unwrap();
        assert_eq!(text, "2 messages were lost\nthree\nfour\n");
    }
}
