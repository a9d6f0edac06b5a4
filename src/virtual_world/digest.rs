//! The digest over everything that has happened in a run: 64 bits that any difference changes.
//!
//! A fact goes in as the bytes that postcard writes of it, eight at a time, and is never written anywhere.
//! That format is what stored digests stand for; the tests hold this against postcard itself.

use std::fmt::Display;

use postcard::Error;
use serde::Serialize;
use serde::ser::{self, Serializer};
use sim_httpsys::clockwork::Instant;

/// A running FNV-1a over everything that has happened, eight bytes at a time: with an eighth of its
/// multiplications.
#[derive(Debug)]
pub(super) struct Digest {
    hash: u64,
}

impl Default for Digest {
    fn default() -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
        }
    }
}

impl Digest {
    /// What it is so far.
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// Takes a fact in.
    pub(super) fn take(&mut self, who: u32, at: Instant, fact: &impl Serialize) {
        let mut mixer = Mixer {
            hash: mix(self.hash, u64::from(who) | at.0 << 32),
            word: at.0 >> 32,
            filled: 32,
        };
        fact.serialize(&mut mixer).expect("a fact is plain data");
        self.hash = mix(mixer.hash, mixer.word);
    }
}

#[inline]
fn mix(hash: u64, word: u64) -> u64 {
    let hash = (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3);
    hash ^ (hash >> 29)
}

/// Mixes the bytes of a fact into a hash as they come.
struct Mixer {
    hash: u64,
    /// The bytes that are not mixed in yet, the first lowest.
    word: u64,
    /// How many bits they have: fewer than 64.
    filled: u32,
}

impl Mixer {
    /// Takes whole bytes of so many bits, the first lowest; above them there is nothing.
    #[inline]
    fn push(&mut self, bytes: u64, bits: u32) {
        let room = 64 - self.filled;
        self.word |= bytes << self.filled;
        if bits < room {
            self.filled += bits;
        } else {
            self.hash = mix(self.hash, self.word);
            self.word = bytes.checked_shr(room).unwrap_or(0);
            self.filled = bits - room;
        }
    }

    /// Seven bits a byte, the lowest first; all bytes but the last have their high bit set.
    #[inline]
    fn varint(&mut self, number: u64) {
        if number < 1 << 7 {
            self.push(number, 8);
        } else {
            self.longer_varint(number);
        }
    }

    /// One of several bytes: of two or three mostly.
    fn longer_varint(&mut self, mut number: u64) {
        // The byte that stands so many bits from the end, moved to where it stands among eight.
        let byte = |at: u32| (number >> at & 0x7f) << (at / 7 * 8);
        if number < 1 << 14 {
            return self.push(byte(0) | byte(7) | 0x80, 16);
        }
        if number < 1 << 21 {
            return self.push(byte(0) | byte(7) | byte(14) | 0x8080, 24);
        }
        let first = byte(0) | byte(7) | byte(14);
        self.push(first | 0x80_8080, 24);
        number >>= 21;
        while number >= 1 << 7 {
            self.push(number & 0x7f | 0x80, 8);
            number >>= 7;
        }
        self.push(number, 8);
    }

    fn zigzag(&mut self, number: i64) {
        self.varint((number << 1 ^ number >> 63).cast_unsigned());
    }

    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.push(u64::from_le_bytes(*word), 64);
        }
        for byte in rest {
            self.push(u64::from(*byte), 8);
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
        self.push(u64::from(value), 8);
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Done {
        self.push(u64::from(value.cast_unsigned()), 8);
        Ok(())
    }

    fn serialize_i16(self, value: i16) -> Done {
        self.zigzag(value.into());
        Ok(())
    }

    fn serialize_i32(self, value: i32) -> Done {
        self.zigzag(value.into());
        Ok(())
    }

    fn serialize_i64(self, value: i64) -> Done {
        self.zigzag(value);
        Ok(())
    }

    #[inline]
    fn serialize_u8(self, value: u8) -> Done {
        self.push(value.into(), 8);
        Ok(())
    }

    #[inline]
    fn serialize_u16(self, value: u16) -> Done {
        self.varint(value.into());
        Ok(())
    }

    #[inline]
    fn serialize_u32(self, value: u32) -> Done {
        self.varint(value.into());
        Ok(())
    }

    #[inline]
    fn serialize_u64(self, value: u64) -> Done {
        self.varint(value);
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Done {
        self.push(value.to_bits().into(), 32);
        Ok(())
    }

    fn serialize_f64(self, value: f64) -> Done {
        self.push(value.to_bits(), 64);
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
        self.push(0, 8);
        Ok(())
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Done {
        self.push(1, 8);
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
        self.varint(index.into());
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
        self.varint(index.into());
        value.serialize(self)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Self, Error> {
        let length = length.ok_or(Error::SerializeSeqLengthUnknown)?;
        self.varint(length as u64);
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
        self.varint(index.into());
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
        self.varint(index.into());
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
    use std::net::{IpAddr, Ipv6Addr, SocketAddr};

    use proptest::prelude::*;

    use super::*;

    /// The digest of postcard's bytes, one byte at a time.
    fn slowly(before: u64, who: u32, at: Instant, fact: &impl Serialize) -> u64 {
        let mut bytes = who.to_le_bytes().to_vec();
        bytes.extend(at.0.to_le_bytes());
        bytes.extend(postcard::to_stdvec(fact).unwrap());
        let whole = bytes.len() / 8 * 8;
        let words = bytes[..whole].as_chunks::<8>().0;
        let mut last = [0; 8];
        last[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
        let words = words.iter().chain([&last]);
        words.fold(before, |hash, word| mix(hash, u64::from_le_bytes(*word)))
    }

    fn is_as_ever(fact: &impl Serialize) {
        let mut digest = Digest::default();
        let at = Instant(0x0123_4567_89ab_cdef);
        let slowly = slowly(digest.hash(), 7, at, fact);
        digest.take(7, at, fact);
        assert_eq!(digest.hash(), slowly);
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
    fn facts_of_any_shape_go_in_as_postcard_writes_them() {
        is_as_ever(&Shape::Nothing);
        is_as_ever(&[Shape::One('ß'), Shape::Two(1.5, -2.25)]);
        let text = "a text that is longer than a word".to_owned();
        is_as_ever(&(1_u16, Shape::Named { text, maybe: None }));
        let text = String::new();
        let maybe = Some(-3);
        is_as_ever(&Pair(200, Shape::Named { text, maybe }));
        is_as_ever(&BTreeMap::from([
            ("key", vec![1_u32, 1 << 20]),
            ("other", Vec::new()),
        ]));
        let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
        is_as_ever(&[SocketAddr::new(v6, 80), "127.0.0.1:65535".parse().unwrap()]);
        is_as_ever(&());
    }

    proptest! {
        #[test]
        fn numbers_go_in_as_postcard_writes_them(
            numbers in prop::collection::vec((any::<u64>(), 0_u32..64), 0..20),
            signed in prop::collection::vec((any::<i64>(), any::<i16>(), any::<i32>()), 0..5),
            bytes in prop::collection::vec(any::<u8>(), 0..30),
        ) {
            let numbers: Vec<u64> = numbers.iter().map(|(number, shift)| number >> shift).collect();
            is_as_ever(&(numbers, signed, bytes, u64::MAX));
        }
    }
}
