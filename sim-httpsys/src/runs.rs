//! Runs of bytes, looked over eight at a time: what heads and values are made of.
//!
//! Heads are short, so that what counts is how little is done before the first byte: less than a search
//! that is made for long texts needs.

const ONES: u64 = u64::MAX / 255;
const HIGH_BITS: u64 = ONES << 7;

/// Sets the high bit of the first byte that is `byte`, and perhaps of some behind it.
#[inline]
fn marks_of(byte: u8, word: u64) -> u64 {
    let differences = word ^ (ONES * u64::from(byte));
    differences.wrapping_sub(ONES) & !differences & HIGH_BITS
}

/// Sets the high bit of the first byte below `limit`, at most 128, and perhaps of some behind it.
#[inline]
fn marks_below(limit: u8, word: u64) -> u64 {
    word.wrapping_sub(ONES * u64::from(limit)) & !word & HIGH_BITS
}

/// Where the first byte is that is marked; `is_marked` says the same of a single byte.
#[inline]
fn first_marked(
    bytes: &[u8],
    marks: impl Fn(u64) -> u64,
    is_marked: impl Fn(u8) -> bool,
) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let marks = marks(u64::from_le_bytes(*word));
        if marks != 0 {
            return Some(index * 8 + marks.trailing_zeros() as usize / 8);
        }
    }
    let in_rest = rest.iter().position(|&byte| is_marked(byte));
    in_rest.map(|at| words.len() * 8 + at)
}

/// Where a byte is found first.
#[inline]
pub fn position(wanted: u8, bytes: &[u8]) -> Option<usize> {
    first_marked(bytes, |word| marks_of(wanted, word), |byte| byte == wanted)
}

/// A mask of a word's bytes, the lowest first, up to the first `byte` and with seven bits of that; all if there is
/// none.
#[inline]
pub(crate) fn before(byte: u8, word: u64) -> u64 {
    let marks = marks_of(byte, word);
    if marks == 0 {
        u64::MAX
    } else {
        (marks & marks.wrapping_neg()) - 1
    }
}

/// How many bytes there are before the first control character, or in all.
#[inline]
pub fn printable(bytes: &[u8]) -> usize {
    let first_other = first_marked(
        bytes,
        |word| marks_below(b' ', word) | marks_of(0x7f, word),
        |byte| byte.is_ascii_control(),
    );
    first_other.unwrap_or(bytes.len())
}

/// A table of bytes, with those that are members.
#[must_use]
pub const fn members(bytes: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut index = 0;
    while index < bytes.len() {
        table[bytes[index] as usize] = true;
        index += 1;
    }
    table
}

/// The number that decimal digits write; nothing if there is none, or anything else.
#[inline]
pub fn number(text: &[u8]) -> Option<u64> {
    /// So many digits are a number in any case.
    const SAFE: usize = 19;
    let digit = |byte: u8| Some(u64::from(byte.wrapping_sub(b'0'))).filter(|digit| *digit < 10);
    let (safe, rest) = text.split_at(text.len().min(SAFE));
    (!safe.is_empty()).then_some(())?;
    let safe = safe
        .iter()
        .try_fold(0, |number, &byte| Some(number * 10 + digit(byte)?))?;
    rest.iter().try_fold(safe, |number: u64, &byte| {
        number.checked_mul(10)?.checked_add(digit(byte)?)
    })
}

/// The two digits of each number below 100.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number as usize] = [b'0' + number / 10, b'0' + number % 10];
        number += 1;
    }
    pairs
};

/// Writes a number in decimal digits, all at once.
#[inline]
pub fn decimal(mut number: u64, write: impl FnOnce(&[u8])) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    while number >= 100 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[(number % 100) as usize]);
        number /= 100;
    }
    if number >= 10 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[(number % 100) as usize]);
    } else {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
    }
    write(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_digits_are_a_number() {
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        for text in ["", "18446744073709551616", "+1", "1 ", "/", ":"] {
            assert_eq!(number(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_number_is_written_as_it_is_read() {
        for written in [0, 9, 10, 4_711, u64::MAX] {
            decimal(written, |digits| assert_eq!(number(digits), Some(written)));
        }
    }

    proptest! {
        #[test]
        fn eight_at_a_time_finds_what_one_at_a_time_finds(
            bytes in prop::collection::vec(
                prop_oneof![any::<u8>(), Just(0x7f), Just(0x80), Just(0x1f), Just(b' '), Just(b'~')],
                0..40,
            ),
            wanted in any::<u8>(),
        ) {
            let of = |is: &dyn Fn(u8) -> bool| bytes.iter().position(|&byte| is(byte));
            prop_assert_eq!(position(wanted, &bytes), of(&|byte| byte == wanted));
            prop_assert_eq!(position(0x7f, &bytes), of(&|byte| byte == 0x7f));
            let control = of(&|byte| byte < 0x20 || byte == 0x7f);
            prop_assert_eq!(printable(&bytes), control.unwrap_or(bytes.len()));
        }
    }
}
