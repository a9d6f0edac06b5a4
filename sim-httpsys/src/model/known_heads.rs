//! Beginnings of heads that were read before: the same bytes are understood only once.
//!
//! What the first lines of a head say depends on their bytes alone, and the heads of a client, or of many
//! clients of one kind, mostly differ in a line or two. So the lines that two heads have had in common are kept
//! with what was read in them, and where a head begins with the same bytes it is read from there on. That
//! changes nothing but the work: the lines are compared byte by byte. So are the names of the lines that have
//! followed it when it was kept: where they are met again, only their values are read.
//!
//! ```text
//!   GET /a HTTP/1.1 ⏎ Host: b ⏎ x-attempt-id: 1 ⏎ …     first seen: nothing is kept
//!   GET /a HTTP/1.1 ⏎ Host: b ⏎ x-attempt-id: 2 ⏎ …     seen again: all its lines are kept
//!   GET /a HTTP/1.1 ⏎ Host: b ⏎ x-attempt-id: 3 ⏎ …     the first two lines are kept
//! ```

use super::framing::{Found, Framing, HeaderKind, framing, parse_activity};
use super::target::{Authority, Target};
use crate::api::{SentVersion, Span, Version};
use crate::runs;

/// How many beginnings are kept at most.
/// Assumed: many times as many as the URLs that are asked for again and again, so that few share a place.
const SLOTS: usize = 8_192;

/// Longer beginnings are not kept, so that all of them together stay small.
const TEXT_MAX: usize = 2_048;

/// The beginnings that are known, by a hash of their first line.
#[derive(Debug, Default)]
pub(super) struct KnownHeads {
    slots: Vec<Slot>,
    /// Beginnings that were ever kept.
    kept: u64,
}

#[derive(Debug, Default)]
struct Slot {
    /// The hash of the first line that was looked for last and not found: what is seen once is not kept.
    missed: u64,
    known: Option<Box<KnownHead>>,
}

/// A first line, as it is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct FirstLine(u64);

/// A beginning that names its request line and its host: what they lead to can be remembered with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KnownHost {
    /// Where it is kept.
    pub(super) slot: u32,
    /// Its number, never used again.
    pub(super) number: u64,
}

/// What was read in the first lines of a head.
#[derive(Clone, Debug)]
pub(super) struct FirstLines {
    /// Where the request line begins.
    pub(super) start: usize,
    pub(super) verb: Span,
    pub(super) raw_url: Span,
    pub(super) sent: SentVersion,
    pub(super) version: Version,
    pub(super) target: Target,
    /// What the headers among them say.
    pub(super) found: Found,
    /// The host, if it is among them.
    pub(super) host: Option<Authority>,
    /// What they say together if no other header adds anything, unless that is wrong.
    pub(super) framing: Option<Framing>,
}

/// A beginning that is known.
#[derive(Debug)]
pub(super) struct KnownHead {
    first_line: u64,
    number: u64,
    text: Box<[u8]>,
    pub(super) headers: Box<[(Span, Span)]>,
    pub(super) lines: FirstLines,
    /// The header lines that have followed.
    pub(super) followers: Box<[Follower]>,
    /// How many of them, from the first, change nothing of how a request is dealt with.
    by_the_way: usize,
}

/// How a header line begins.
#[derive(Debug)]
pub(super) struct Follower {
    /// Its name, the colon, and the blanks behind it.
    text: Box<[u8]>,
    /// How many bytes of it are the name.
    name: usize,
    pub(super) kind: HeaderKind,
}

impl KnownHead {
    /// Where reading goes on.
    pub(super) fn end(&self) -> usize {
        self.text.len()
    }

    /// How many header lines are known.
    pub(super) fn lines_known(&self) -> usize {
        self.headers.len() + self.followers.len()
    }

    /// What all lines say together if nothing but these has followed; `None` if one of them has to be understood.
    pub(super) fn framing_behind(
        &self,
        bytes: &[u8],
        followed: &[(Span, Span)],
    ) -> Option<Framing> {
        let framing = self.lines.framing?;
        if followed.len() > self.by_the_way {
            return None;
        }
        let mut all = self.followers.iter().zip(followed);
        let named = all.rfind(|(follower, _)| follower.kind == HeaderKind::Activity);
        let activity = named.map_or(self.lines.found.activity(), |(_, (_, value))| {
            parse_activity(&bytes[value.start as usize..][..value.len as usize])
        });
        Some(framing.of_attempt(activity))
    }

    /// Other lines have followed than those that are known.
    fn follow(&mut self, text: &[u8], others: &[(Span, Span)]) {
        let followers = others.iter().map(|&header| Follower::of(text, header));
        self.followers = followers.collect();
        let mut all = self.followers.iter();
        let first = all.position(|follower| !follower.kind.is_by_the_way());
        self.by_the_way = first.unwrap_or(self.followers.len());
    }
}

impl Follower {
    fn of(text: &[u8], (name, value): (Span, Span)) -> Self {
        let text = &text[name.start as usize..value.start as usize];
        let name = name.len as usize;
        Self {
            text: text.into(),
            name,
            kind: HeaderKind::of(&text[..name]),
        }
    }

    /// Reads this header line, of at most so many bytes, at a place: name and value, and where the line ends.
    /// `None` if it is another one, or is not written as most are.
    #[inline]
    pub(super) fn read(
        &self,
        bytes: &[u8],
        at: usize,
        max: usize,
    ) -> Option<((Span, Span), usize)> {
        let rest = bytes[at..].strip_prefix(&*self.text)?;
        let length = runs::printable(rest);
        let (value, behind) = rest.split_at(length);
        let is_trimmed = value.first() != Some(&b' ') && value.last() != Some(&b' ');
        let begin = at + self.text.len();
        let end = begin + length;
        let is_plain = is_trimmed && behind.starts_with(b"\r\n") && end - at <= max;
        let header = (Span::new(at, at + self.name), Span::new(begin, end));
        is_plain.then_some((header, end + 2))
    }
}

impl FirstLine {
    /// The first line of these bytes; none if it is short or has no end.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let (words, _) = bytes.as_chunks::<8>();
        let mut hash = 0_u64;
        for word in words {
            let word = u64::from_le_bytes(*word);
            let before = runs::before(b'\n', word);
            hash = (hash.rotate_left(5) ^ (word & before)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            if before != u64::MAX {
                return Some(Self(hash));
            }
        }
        None
    }

    fn slot(self) -> usize {
        ((self.0 >> 32) % SLOTS as u64) as usize
    }
}

impl KnownHeads {
    /// The known beginning of a head.
    pub(super) fn find(&self, first_line: FirstLine, bytes: &[u8]) -> Option<&KnownHead> {
        let known = self.slots.get(first_line.slot())?.known.as_deref()?;
        let is_it = known.first_line == first_line.0 && bytes.starts_with(&known.text);
        is_it.then_some(known)
    }

    /// The name of a beginning, if the host is in it.
    pub(super) fn host_of(first_line: FirstLine, known: &KnownHead) -> Option<KnownHost> {
        known.lines.host.is_some().then(|| KnownHost {
            slot: u32::try_from(first_line.slot()).unwrap_or(u32::MAX),
            number: known.number,
        })
    }

    /// Remembers a head that was read and of which no known one is the beginning. `text` is all of its lines.
    pub(super) fn learn(
        &mut self,
        first_line: FirstLine,
        text: &[u8],
        headers: &[(Span, Span)],
        lines: &FirstLines,
    ) {
        if self.slots.is_empty() {
            self.slots.resize_with(SLOTS, Slot::default);
        }
        let slot = &mut self.slots[first_line.slot()];
        if std::mem::replace(&mut slot.missed, first_line.0) != first_line.0 {
            return;
        }
        // Where the lines end that are followed by so many headers less.
        let end = |kept: usize| {
            let next = headers.get(kept);
            next.map_or(text.len(), |(name, _)| name.start as usize)
        };
        let other = slot.known.as_deref();
        let other = other.filter(|known| known.first_line == first_line.0);
        let in_common = other.and_then(|known| {
            let both = known.text.iter().zip(text);
            let same = both.take_while(|(one, other)| one == other).count();
            (0..=headers.len()).rev().find(|&kept| end(kept) <= same)
        });
        let kept = in_common.unwrap_or(headers.len());
        if end(kept) > TEXT_MAX {
            return;
        }
        self.kept += 1;
        let (known, others) = headers.split_at(kept);
        let found = Found::among(text, known);
        let mut lines = FirstLines {
            host: lines.host.filter(|_| found.names_host()),
            found,
            ..lines.clone()
        };
        lines.framing = framing(text, &lines, &found).ok();
        let mut known = Box::new(KnownHead {
            first_line: first_line.0,
            number: self.kept,
            text: text[..end(kept)].into(),
            headers: known.into(),
            lines,
            followers: Box::default(),
            by_the_way: 0,
        });
        if text.len() <= TEXT_MAX {
            known.follow(text, others);
        }
        slot.known = Some(known);
    }

    /// More lines have followed a known beginning than ever before: a client has got a cookie, say.
    pub(super) fn learn_followers(
        &mut self,
        first_line: FirstLine,
        text: &[u8],
        headers: &[(Span, Span)],
    ) {
        let slot = self.slots.get_mut(first_line.slot());
        if let Some(known) = slot.and_then(|slot| slot.known.as_mut())
            && text.len() <= TEXT_MAX
        {
            known.follow(text, &headers[known.headers.len()..]);
        }
    }
}
