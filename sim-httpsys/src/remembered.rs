//! What short texts were read as: a text that comes again is compared and not read again.
//!
//! For what is read by a pure function of its bytes, and mostly is the same as a moment ago: the heads of
//! responses, which differ from each other by page and by second. Nothing depends on what is remembered
//! but the work.

/// How many sets there are.
const SETS: usize = 64;

/// How many texts of one set are remembered: mostly those that were met last.
const OF_SET: usize = 4;

/// Longer texts are not remembered.
const TEXT_MAX: usize = 2_048;

/// Texts, and what each was read as.
#[derive(Debug)]
pub struct Remembered<T>(Vec<Set<T>>);

/// Texts with equal hints, and what each was read as; the one that was met last is the first.
type Set<T> = Vec<(Vec<u8>, T)>;

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Clone> Remembered<T> {
    /// What `bytes` begin with, if that is remembered, and how long it is. `hint` is that of [`keep`](Self::keep).
    #[inline]
    pub fn find(&mut self, hint: usize, bytes: &[u8]) -> Option<(&T, usize)> {
        let set = self.0.get_mut(hint % SETS)?;
        let at = set.iter().position(|(text, _)| bytes.starts_with(text))?;
        set.swap(0, at);
        let (text, read) = &set[0];
        Some((read, text.len()))
    }

    /// Remembers what a text was read as. `hint` is some number that mostly tells texts apart: of those for which
    /// it is the same, few are remembered at a time.
    pub fn keep(&mut self, hint: usize, text: &[u8], read: &T) {
        if text.len() > TEXT_MAX {
            return;
        }
        if self.0.is_empty() {
            self.0.resize_with(SETS, Set::new);
        }
        let set = &mut self.0[hint % SETS];
        if set.len() < OF_SET {
            return set.insert(0, (text.to_vec(), read.clone()));
        }
        set.rotate_right(1);
        let (known, was_read) = &mut set[0];
        known.clear();
        known.extend_from_slice(text);
        was_read.clone_from(read);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_known_until_others_take_its_place() {
        let mut remembered = Remembered::default();
        assert_eq!(remembered.find(5, b"hello"), None);
        remembered.keep(5, b"hell", &1);
        assert_eq!(remembered.find(5, b"hello"), Some((&1, 4)));
        assert_eq!(remembered.find(5, b"help"), None);
        for other in [&b"help"[..], b"hem", b"hen"] {
            remembered.keep(5 + SETS, other, &2);
        }
        assert_eq!(remembered.find(5, b"hello"), Some((&1, 4)));
        remembered.keep(5, b"her", &3);
        assert_eq!(remembered.find(5, b"hens"), None);
        assert_eq!(remembered.find(5, b"hello"), Some((&1, 4)));
        assert_eq!(remembered.find(5, b"help"), Some((&2, 4)));
        assert_eq!(remembered.find(5, b"hers"), Some((&3, 3)));
    }

    #[test]
    fn a_long_text_is_not_kept() {
        let mut remembered = Remembered::default();
        remembered.keep(0, &[1; TEXT_MAX + 1], &());
        assert_eq!(remembered.find(0, &[1; TEXT_MAX + 1]), None);
    }
}
