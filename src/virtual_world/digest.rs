//! The digest over everything that has happened in a run: 64 bits that any difference changes.
//!
//! A fact goes in as serde tells it, in words of eight bytes, and is never written anywhere: a number, a length and
//! the index of a variant are a word each, a text is its length and as many words as it fills. Which word comes next
//! is told by those before it, so that different facts are different words. Those are what stored digests stand
//! for; the tests hold this against the words themselves.

use std::fmt::{Display, Error};

use serde::Serialize;
use serde::ser::{self, Serializer};
use sim_httpsys::clockwork::Instant;

/// A running FNV-1a over everything that has happened, a word at a time: with an eighth of its
/// multiplications.
#[derive(Debug)]
pub(super) struct Digest {
    mixer: Mixer,
}

impl Default for Digest {
    fn default() -> Self {
        Self {
            mixer: Mixer {
                hash: 0xcbf2_9ce4_8422_2325,
            },
        }
    }
}

impl Digest {
    /// What it is so far.
    pub(super) fn hash(&self) -> u64 {
        self.mixer.hash
    }

    /// Takes a fact in.
    pub(super) fn take(&mut self, who: u32, at: Instant, fact: &impl Serialize) {
        self.mixer.word(u64::from(who));
        self.mixer.word(at.0);
        fact.serialize(&mut self.mixer)
            .expect("a fact is plain data");
    }
}

/// Mixes the words of a fact into a hash as they come.
#[derive(Debug)]
struct Mixer {
    hash: u64,
}

impl Mixer {
    #[inline]
    fn word(&mut self, word: u64) {
        let hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        self.hash = hash ^ (hash >> 29);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.word(u64::from_le_bytes(last));
        }
    }
}

type Done = Result<(), Error>;

impl Serializer for &mut Mixer {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Done {
        self.word(value.into());
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Done {
        self.word(i64::from(value).cast_unsigned());
        Ok(())
    }

    fn serialize_i16(self, value: i16) -> Done {
        self.word(i64::from(value).cast_unsigned());
        Ok(())
    }

    fn serialize_i32(self, value: i32) -> Done {
        self.word(i64::from(value).cast_unsigned());
        Ok(())
    }

    fn serialize_i64(self, value: i64) -> Done {
        self.word(value.cast_unsigned());
        Ok(())
    }

    #[inline]
    fn serialize_u8(self, value: u8) -> Done {
        self.word(value.into());
        Ok(())
    }

    #[inline]
    fn serialize_u16(self, value: u16) -> Done {
        self.word(value.into());
        Ok(())
    }

    #[inline]
    fn serialize_u32(self, value: u32) -> Done {
        self.word(value.into());
        Ok(())
    }

    #[inline]
    fn serialize_u64(self, value: u64) -> Done {
        self.word(value);
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Done {
        self.word(value.to_bits().into());
        Ok(())
    }

    fn serialize_f64(self, value: f64) -> Done {
        self.word(value.to_bits());
        Ok(())
    }

    fn serialize_char(self, value: char) -> Done {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Done {
        self.bytes(value.as_bytes());
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Done {
        self.bytes(value);
        Ok(())
    }

    #[inline]
    fn serialize_none(self) -> Done {
        self.word(0);
        Ok(())
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Done {
        self.word(1);
        value.serialize(self)
    }

    fn serialize_unit(self) -> Done {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Done {
        Ok(())
    }

    #[inline]
    fn serialize_unit_variant(self, _: &'static str, index: u32, _: &'static str) -> Done {
        self.word(index.into());
        Ok(())
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Done {
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        value: &T,
    ) -> Done {
        self.word(index.into());
        value.serialize(self)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Self, Error> {
        let length = length.ok_or(Error)?;
        self.word(length as u64);
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Error> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Error> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Error> {
        self.word(index.into());
        Ok(self)
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Self, Error> {
        self.serialize_seq(length)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Error> {
        Ok(self)
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Error> {
        self.word(index.into());
        Ok(self)
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Done {
        self.serialize_str(&value.to_string())
    }
}

/// What has parts is its parts, one behind the other.
macro_rules! parts {
    ($($of:ident :: $method:ident ($($name:ty)?)),+ $(,)?) => {$(
        impl ser::$of for &mut Mixer {
            type Ok = ();
            type Error = Error;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, $(_: $name,)? value: &T) -> Done {
                value.serialize(&mut **self)
            }

            #[inline]
            fn end(self) -> Done {
                Ok(())
            }
        }
    )+};
}

parts! {
    SerializeSeq::serialize_element(),
    SerializeTuple::serialize_element(),
    SerializeTupleStruct::serialize_field(),
    SerializeTupleVariant::serialize_field(),
    SerializeStruct::serialize_field(&'static str),
    SerializeStructVariant::serialize_field(&'static str),
}

impl ser::SerializeMap for &mut Mixer {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Done {
        key.serialize(&mut **self)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        value.serialize(&mut **self)
    }

    fn end(self) -> Done {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};

    use proptest::prelude::*;

    use super::*;

    /// The digest of a fact of process 7.
    fn digest(fact: &impl Serialize) -> u64 {
        let mut digest = Digest::default();
        digest.take(7, Instant(0x0123_4567_89ab_cdef), fact);
        digest.hash()
    }

    /// The digest of these words behind who and when.
    fn of_words(words: &[u64]) -> u64 {
        let words = [7, 0x0123_4567_89ab_cdef].iter().chain(words);
        words.fold(0xcbf2_9ce4_8422_2325, |hash, word| {
            let hash = (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3);
            hash ^ (hash >> 29)
        })
    }

    #[derive(Serialize)]
    enum Shape {
        Nothing,
        One(char),
        Two(f32, f64),
        Named { text: String, maybe: Option<i8> },
    }

    #[derive(Serialize)]
    struct Pair(u8, Shape);

    #[test]
    fn facts_of_any_shape_go_in_word_by_word() {
        assert_eq!(digest(&()), of_words(&[]));
        assert_eq!(digest(&Shape::Nothing), of_words(&[0]));
        assert_eq!(digest(&[true, false]), of_words(&[1, 0]));
        let minus_three = (-3_i64).cast_unsigned();
        let text = "12345678ab".to_owned();
        let of_text = [
            10,
            u64::from_le_bytes(*b"12345678"),
            u64::from_le_bytes(*b"ab\0\0\0\0\0\0"),
        ];
        let maybe = Some(-3);
        let named = [&[200, 3], &of_text[..], &[1, minus_three]].concat();
        let pair = Pair(200, Shape::Named { text, maybe });
        assert_eq!(digest(&pair), of_words(&named));
        let (text, maybe) = (String::new(), None);
        assert_eq!(
            digest(&(1_u16, Shape::Named { text, maybe })),
            of_words(&[1, 3, 0, 0])
        );
        let numbers = [1.5_f32.to_bits().into(), (-2.25_f64).to_bits()];
        assert_eq!(
            digest(&(Shape::One('a'), Shape::Two(1.5, -2.25))),
            of_words(&[1, 1, b'a'.into(), 2, numbers[0], numbers[1]])
        );
        let key = u64::from(b'k');
        assert_eq!(
            digest(&BTreeMap::from([("k", vec![1_u32, 1 << 20])])),
            of_words(&[1, 1, key, 2, 1, 1 << 20])
        );
        let end = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 80);
        assert_eq!(digest(&end), of_words(&[0, 127, 0, 0, 1, 80]));
    }

    proptest! {
        #[test]
        fn a_text_goes_in_as_its_length_and_its_bytes(text in any::<String>()) {
            let mut words = vec![text.len() as u64];
            words.extend(text.as_bytes().chunks(8).map(|part| {
                let bytes = part.iter().rev();
                bytes.fold(0, |word, byte| word << 8 | u64::from(*byte))
            }));
            prop_assert_eq!(digest(&text), of_words(&words));
        }

        #[test]
        fn numbers_go_in_as_they_are(
            numbers in prop::collection::vec(any::<u64>(), 0..20),
            signed in any::<(i64, i32, i16)>(),
        ) {
            let of_signed = [signed.0, signed.1.into(), signed.2.into()];
            let mut words = vec![numbers.len() as u64];
            words.extend(&numbers);
            words.extend(of_signed.map(i64::cast_unsigned));
            prop_assert_eq!(digest(&(numbers, signed)), of_words(&words));
        }
    }
}
