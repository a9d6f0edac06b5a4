//! A request's body, taken out of the bytes of a connection.
//!
//! ```text
//! Known:    Left(n) ──► Done
//! Chunked:  Size ──► Extension ──► SizeLf ──► Data ──► DataCr ──► DataLf ──► Size
//!             └─ size 0 ─► TrailerStart ──► TrailerName ──► TrailerValue … ──► EndLf ──► Done
//! ```
//!
//! Trailers are read, held to the syntax of headers, and dropped. A line end is CR LF here; a bare LF,
//! which the head may use, is refused, because intermediaries disagree about it.

use bytes::Bytes;

use super::ReasonPhrase;
use super::http1::is_token;
use crate::api::EntityLength;

/// Most hexadecimal digits of a chunk's size, leading zeros included: what fits in 64 bits.
const SIZE_DIGITS_MAX: u8 = 16;

/// Most bytes of extensions in one chunk, and of all trailers.
/// Assumed: as much as a request's head; no Microsoft document names a limit.
const EXTRA_MAX: u32 = 16384;

/// Takes a request's body out of the bytes of a connection.
#[derive(Clone, Debug)]
pub struct EntityReader {
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Bytes of a body of known length that are still to come.
    Left(u64),
    /// In a chunk's size: its value and digits so far.
    Size { size: u64, digits: u8 },
    /// After the size, in blanks and extensions.
    Extension { size: u64, seen: u32, named: bool },
    /// Before the LF that ends the line of a size.
    SizeLf { size: u64 },
    /// In a chunk's data.
    Data { left: u64 },
    /// Before the CR after a chunk's data.
    DataCr,
    /// Before the LF after a chunk's data.
    DataLf,
    /// At the beginning of a line after the last chunk.
    TrailerStart { seen: u32 },
    /// Within the name of a trailer.
    TrailerName { seen: u32 },
    /// After its colon.
    TrailerValue { seen: u32 },
    /// Before the LF that ends a trailer.
    TrailerLf { seen: u32 },
    /// Before the LF that ends everything.
    EndLf,
    /// All of it was taken.
    Done,
}

/// What came of giving bytes to an [`EntityReader`].
#[derive(Debug)]
pub struct EntityPiece {
    /// How many bytes it took.
    pub consumed: usize,
    /// Body bytes among them, without chunk framing.
    pub body: Bytes,
    /// Whether the body ends here.
    pub last: bool,
}

impl EntityReader {
    /// A reader for a body of that length; one of [`EntityLength::None`] ends at once.
    pub fn new(length: EntityLength) -> Self {
        let state = match length {
            EntityLength::None | EntityLength::Known(0) => State::Done,
            EntityLength::Known(left) => State::Left(left),
            EntityLength::Chunked => State::Size { size: 0, digits: 0 },
        };
        Self { state }
    }

    /// Takes what it can from `bytes`, up to the body's end. On an error the request is refused
    /// with that reason, and the reader is of no further use.
    pub fn read(&mut self, bytes: &[u8]) -> Result<EntityPiece, ReasonPhrase> {
        if let State::Left(left) = self.state {
            Ok(self.read_known(left, bytes))
        } else {
            self.read_chunked(bytes)
        }
    }

    /// As [`Self::read`], for who only wants to know how far the body goes: how many bytes it took, and
    /// whether the body ends there.
    pub fn skim(&mut self, bytes: &[u8]) -> Result<(usize, bool), ReasonPhrase> {
        let consumed = if let State::Left(left) = self.state {
            self.take_known(left, bytes)
        } else {
            self.take_chunked(bytes, |_| ())?
        };
        Ok((consumed, matches!(self.state, State::Done)))
    }

    fn read_known(&mut self, left: u64, bytes: &[u8]) -> EntityPiece {
        let consumed = self.take_known(left, bytes);
        EntityPiece {
            consumed,
            body: Bytes::copy_from_slice(&bytes[..consumed]),
            last: matches!(self.state, State::Done),
        }
    }

    fn take_known(&mut self, left: u64, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let left = left - taken as u64;
        self.state = if left == 0 {
            State::Done
        } else {
            State::Left(left)
        };
        taken
    }

    fn read_chunked(&mut self, bytes: &[u8]) -> Result<EntityPiece, ReasonPhrase> {
        let mut body = Vec::new();
        let consumed = self.take_chunked(bytes, |data| body.extend_from_slice(data))?;
        Ok(EntityPiece {
            consumed,
            body: Bytes::from(body),
            last: matches!(self.state, State::Done),
        })
    }

    fn take_chunked(
        &mut self,
        bytes: &[u8],
        mut take: impl FnMut(&[u8]),
    ) -> Result<usize, ReasonPhrase> {
        let mut consumed = 0;
        while consumed < bytes.len() && !matches!(self.state, State::Done) {
            if let State::Data { left } = self.state {
                let rest = &bytes[consumed..];
                let taken = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                take(&rest[..taken]);
                consumed += taken;
                let left = left - taken as u64;
                self.state = if left == 0 {
                    State::DataCr
                } else {
                    State::Data { left }
                };
            } else {
                let byte = bytes[consumed];
                let after = self.state.after(byte);
                self.state = after.ok_or_else(|| self.state.refusal(byte))?;
                consumed += 1;
            }
        }
        Ok(consumed)
    }
}

impl State {
    /// The state after one byte of framing; `None` if the byte must not be there.
    fn after(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Size { size, digits }, b'\r') if digits > 0 => Some(Self::SizeLf { size }),
            (Self::Size { size, digits }, b' ' | b'\t') if digits > 0 => Some(Self::Extension {
                size,
                seen: 1,
                named: false,
            }),
            (Self::Size { size, digits }, b';') if digits > 0 => Some(Self::Extension {
                size,
                seen: 1,
                named: true,
            }),
            (Self::Size { size, digits }, digit) => {
                let value = u64::from(char::from(digit).to_digit(16)?);
                let digits = digits + 1;
                (digits <= SIZE_DIGITS_MAX).then_some(Self::Size {
                    size: size << 4 | value,
                    digits,
                })
            }
            (Self::Extension { size, .. }, b'\r') => Some(Self::SizeLf { size }),
            (Self::Extension { size, seen, named }, byte) => {
                let named = named || byte == b';';
                let legal = is_text(byte) && (named || matches!(byte, b' ' | b'\t'));
                (legal && seen < EXTRA_MAX).then_some(Self::Extension {
                    size,
                    seen: seen + 1,
                    named,
                })
            }
            (Self::SizeLf { size: 0 }, b'\n') => Some(Self::TrailerStart { seen: 0 }),
            (Self::SizeLf { size }, b'\n') => Some(Self::Data { left: size }),
            (Self::DataCr, b'\r') => Some(Self::DataLf),
            (Self::DataLf, b'\n') => Some(Self::Size { size: 0, digits: 0 }),
            (Self::TrailerStart { .. }, b'\r') => Some(Self::EndLf),
            // A line that begins with a blank goes on with the one before, as in the head.
            (Self::TrailerStart { seen }, b' ' | b'\t') if seen > 0 => Self::trailer_value(seen),
            (Self::TrailerName { seen }, b':') => Self::trailer_value(seen),
            (Self::TrailerStart { seen } | Self::TrailerName { seen }, byte) => {
                (is_token(byte) && seen < EXTRA_MAX).then_some(Self::TrailerName { seen: seen + 1 })
            }
            (Self::TrailerValue { seen }, b'\r') => Some(Self::TrailerLf { seen }),
            (Self::TrailerValue { seen }, byte) if is_text(byte) => Self::trailer_value(seen),
            (Self::TrailerLf { seen }, b'\n') => Some(Self::TrailerStart { seen }),
            (Self::EndLf, b'\n') => Some(Self::Done),
            (
                Self::SizeLf { .. }
                | Self::DataCr
                | Self::DataLf
                | Self::TrailerValue { .. }
                | Self::TrailerLf { .. }
                | Self::EndLf
                | Self::Left(_)
                | Self::Data { .. }
                | Self::Done,
                _,
            ) => None,
        }
    }

    fn trailer_value(seen: u32) -> Option<Self> {
        (seen < EXTRA_MAX).then_some(Self::TrailerValue { seen: seen + 1 })
    }

    /// Why a byte must not be there. Source: KB820729, the reasons of the error log. Assumed: trailers are
    /// refused with those of headers.
    fn refusal(self, byte: u8) -> ReasonPhrase {
        match self {
            Self::TrailerStart { seen }
            | Self::TrailerName { seen }
            | Self::TrailerValue { seen } => match byte {
                b'\n' => ReasonPhrase::InvalidCrLf,
                _ if seen >= EXTRA_MAX => ReasonPhrase::RequestLength,
                _ => ReasonPhrase::Header,
            },
            Self::TrailerLf { .. } | Self::EndLf => ReasonPhrase::InvalidCrLf,
            Self::Size { .. }
            | Self::Extension { .. }
            | Self::SizeLf { .. }
            | Self::DataCr
            | Self::DataLf
            | Self::Left(_)
            | Self::Data { .. }
            | Self::Done => ReasonPhrase::Number,
        }
    }
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The whole body and how many bytes were left over, if the bytes hold a whole body.
    fn read_cut(
        length: EntityLength,
        wire: &[u8],
        cuts: &[usize],
    ) -> Result<Option<(Vec<u8>, usize)>, ReasonPhrase> {
        let mut reader = EntityReader::new(length);
        let (mut body, mut at) = (Vec::new(), 0);
        for &cut in cuts.iter().chain([&wire.len()]) {
            while at < cut.min(wire.len()) {
                let piece = reader.read(&wire[at..cut.min(wire.len())])?;
                body.extend_from_slice(&piece.body);
                at += piece.consumed;
                if piece.last {
                    return Ok(Some((body, wire.len() - at)));
                }
            }
        }
        Ok(None)
    }

    fn chunked(wire: &str) -> Result<Option<(Vec<u8>, usize)>, ReasonPhrase> {
        read_cut(EntityLength::Chunked, wire.as_bytes(), &[])
    }

    #[test]
    fn chunks_extensions_and_trailers_are_taken_off() {
        let body =
            chunked("5;a=\"b\"\r\nhello\r\n6 ; x\r\n world\r\n000\r\nA: b\r\nC: d\r\n\r\nGET");
        assert_eq!(body, Ok(Some((b"hello world".to_vec(), 3))));
    }

    #[test]
    fn a_body_that_has_not_ended_waits_for_more() {
        for wire in [
            "",
            "5",
            "5\r\nhel",
            "5\r\nhello\r\n0\r\n",
            "0\r\nA: b\r\n\r",
        ] {
            assert_eq!(chunked(wire), Ok(None), "{wire:?}");
        }
    }

    #[test]
    fn malformed_chunks_are_refused_as_numbers() {
        for wire in [
            "zz\r\n",
            "-3\r\n",
            "+3\r\n",
            "0x3\r\n",
            "\r\n",
            ";a\r\n",
            "5 6\r\n",
            "5\nhello",
            "5;a\nb\r\n",
            "5\rX",
            "5\r\nhelloX",
            "5\r\nhello\n0\r\n",
            "11111111111111111\r\n",
        ] {
            assert_eq!(chunked(wire), Err(ReasonPhrase::Number), "{wire:?}");
        }
    }

    #[test]
    fn trailers_are_held_to_the_syntax_of_headers() {
        for good in [
            "A:\r\n",
            "A: b c\r\nX-Y:d\r\n",
            "A: b\r\n c\r\n",
            "A: \u{e9}\r\n",
        ] {
            let body = chunked(&format!("0\r\n{good}\r\n"));
            assert_eq!(body, Ok(Some((Vec::new(), 0))), "{good:?}");
        }
        for (bad, reason) in [
            ("no colon\r\n", ReasonPhrase::Header),
            ("nocolon\r\n", ReasonPhrase::Header),
            (": nameless\r\n", ReasonPhrase::Header),
            ("A : b\r\n", ReasonPhrase::Header),
            (" A: b\r\n", ReasonPhrase::Header),
            ("A[]: b\r\n", ReasonPhrase::Header),
            ("A\0: b\r\n", ReasonPhrase::Header),
            ("A: b\0\r\n", ReasonPhrase::Header),
            ("A: b\rc\r\n", ReasonPhrase::InvalidCrLf),
            ("A: b\n", ReasonPhrase::InvalidCrLf),
            ("\n", ReasonPhrase::InvalidCrLf),
            ("\rX", ReasonPhrase::InvalidCrLf),
        ] {
            assert_eq!(chunked(&format!("0\r\n{bad}")), Err(reason), "{bad:?}");
        }
    }

    #[test]
    fn endless_extensions_and_trailers_are_refused() {
        let endless = "x".repeat(20_000);
        assert_eq!(chunked(&format!("5;{endless}")), Err(ReasonPhrase::Number));
        let many = "A: b\r\n".repeat(9_000);
        for trailers in [&endless, &format!("A: {endless}"), &many] {
            let refused = chunked(&format!("0\r\n{trailers}"));
            assert_eq!(refused, Err(ReasonPhrase::RequestLength));
        }
    }

    #[test]
    fn a_known_body_ends_at_its_length() {
        let read = |length, wire: &str| read_cut(EntityLength::Known(length), wire.as_bytes(), &[]);
        assert_eq!(read(5, "helloGET"), Ok(Some((b"hello".to_vec(), 3))));
        assert_eq!(read(6, "hello"), Ok(None));
        let mut nothing = EntityReader::new(EntityLength::None);
        assert!(
            nothing
                .read(b"GET")
                .is_ok_and(|piece| piece.last && piece.consumed == 0)
        );
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_same_body(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            mut cuts in prop::collection::vec(0..400_usize, 0..20),
            damage in prop::option::of((0..400_usize, any::<u8>())),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:x};e=1\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\nTrailer: x\r\n\r\nrest");
            cuts.sort_unstable();
            if let Some((at, byte)) = damage {
                let at = at % wire.len();
                wire[at] = byte;
            } else {
                let whole = read_cut(EntityLength::Chunked, &wire, &[]);
                prop_assert_eq!(whole, Ok(Some((chunks.concat(), 4))));
            }
            prop_assert_eq!(
                read_cut(EntityLength::Chunked, &wire, &cuts),
                read_cut(EntityLength::Chunked, &wire, &[])
            );
        }
    }
}
