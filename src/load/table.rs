//! A table of a scenario that must be one.
//!
//! A structure is also understood from a list, by the order of its fields: `held = [{ … }]` would be a list
//! whose first part is no URL, and `timing = ["1s"]` would pass. Whoever writes a list where a table belongs
//! is told so.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A structure, from a table only.
pub(crate) fn table<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<T, D::Error> {
    from.deserialize_map(OfTable(PhantomData))
}

/// The same of one that may be left out.
pub(crate) fn optional<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    from.deserialize_option(OrNothing(PhantomData))
}

struct OfTable<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OfTable<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<T, A::Error> {
        Err(A::Error::custom(
            "a list where there is only one: write a table, [name] or name = { … }, not [[name]] or name = [ … ]",
        ))
    }
}

struct OrNothing<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OrNothing<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_none<E: Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, some: D) -> Result<Option<T>, D::Error> {
        table(some).map(Some)
    }
}
