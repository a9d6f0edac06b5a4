//! Things by their ids, one behind the other: for what there are very many of.
//!
//! Things lie in chunks that are never moved, so that growing copies nothing and wastes at most a chunk,
//! and a place is used again. Where each one lies is in a table of places, four bytes each, found by a
//! hash of the id. The ids are our own sequential numbers: nobody can aim at collisions.

use std::cell::Cell;

use hashbrown::HashTable;

/// Things of one chunk. A power of two, so that finding one takes no division.
const CHUNK: usize = 64;

/// An id that can be spread over a table.
pub trait Id: Copy + Eq {
    /// Its number.
    fn number(self) -> u64;
}

type Chunk<K, V> = Box<[Option<(K, V)>; CHUNK]>;

/// Things by their ids.
#[derive(Debug)]
pub struct IdSlab<K, V> {
    chunks: Vec<Chunk<K, V>>,
    /// Places that were ever used.
    used: u32,
    places: HashTable<u32>,
    free: Vec<u32>,
    /// The number of what was looked up last, and its place: mostly it is looked up again.
    last: Cell<Option<(u64, u32)>>,
}

impl<K, V> Default for IdSlab<K, V> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            used: 0,
            places: HashTable::new(),
            free: Vec::new(),
            last: Cell::new(None),
        }
    }
}

impl<K: Id, V> IdSlab<K, V> {
    /// Puts a thing in. Nothing with that id may be there.
    pub fn insert(&mut self, id: K, thing: V) -> &mut V {
        debug_assert!(self.place(id).is_none(), "an id is used once");
        let place = self.free.pop().unwrap_or_else(|| self.grow());
        self.last.set(Some((id.number(), place)));
        let chunks = &self.chunks;
        let hash_of = |&place: &u32| entry(chunks, place).map_or(0, |(id, _)| spread(id.number()));
        self.places
            .insert_unique(spread(id.number()), place, hash_of);
        let entry = &mut self.chunks[place as usize / CHUNK][place as usize % CHUNK];
        &mut entry.insert((id, thing)).1
    }

    /// The thing with that id.
    #[inline]
    pub fn get(&self, id: K) -> Option<&V> {
        let place = self.place(id)?;
        entry(&self.chunks, place).map(|(_, thing)| thing)
    }

    /// The thing with that id.
    #[inline]
    pub fn get_mut(&mut self, id: K) -> Option<&mut V> {
        let place = self.place(id)? as usize;
        let entry = self.chunks[place / CHUNK][place % CHUNK].as_mut();
        entry.map(|(_, thing)| thing)
    }

    /// Takes the thing with that id out.
    pub fn remove(&mut self, id: K) -> Option<V> {
        let place = self.place(id)?;
        self.last.set(None);
        let entry = self
            .places
            .find_entry(spread(id.number()), |&other| other == place);
        entry.ok()?.remove();
        self.free.push(place);
        let entry = self.chunks[place as usize / CHUNK][place as usize % CHUNK].take();
        entry.map(|(_, thing)| thing)
    }

    /// Takes all things out but those that are kept.
    pub fn retain(&mut self, keeps: impl Fn(&V) -> bool) {
        let all = self.iter();
        let gone: Vec<K> = all
            .filter(|(_, thing)| !keeps(thing))
            .map(|(id, _)| id)
            .collect();
        for id in gone {
            self.remove(id);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// All of them, in the order of their places, which says nothing.
    pub fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        let entries = self.chunks.iter().flat_map(|chunk| chunk.iter().flatten());
        entries.map(|(id, thing)| (*id, thing))
    }

    /// All of them, in no order that says anything.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        let entries = self.chunks.iter_mut().flat_map(|chunk| chunk.iter_mut());
        entries.flatten().map(|(_, thing)| thing)
    }

    /// All of them, in the order of their ids.
    pub fn in_order(&self) -> Vec<(K, &V)>
    where
        K: Ord,
    {
        let mut all: Vec<(K, &V)> = self.iter().collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }

    #[inline]
    fn place(&self, id: K) -> Option<u32> {
        match self.last.get() {
            Some((last, place)) if last == id.number() => Some(place),
            Some(_) | None => self.look_up(id),
        }
    }

    fn look_up(&self, id: K) -> Option<u32> {
        let is_it = |&place: &u32| entry(&self.chunks, place).is_some_and(|(at, _)| *at == id);
        let place = *self.places.find(spread(id.number()), is_it)?;
        self.last.set(Some((id.number(), place)));
        Some(place)
    }

    /// A place that was never used.
    fn grow(&mut self) -> u32 {
        let place = self.used;
        if place as usize == self.chunks.len() * CHUNK {
            self.chunks.push(Box::new([const { None }; CHUNK]));
        }
        self.used = place
            .checked_add(1)
            .expect("fewer than 2^32 things are there at once");
        place
    }
}

#[inline]
fn entry<K, V>(chunks: &[Chunk<K, V>], place: u32) -> Option<&(K, V)> {
    chunks.get(place as usize / CHUNK)?[place as usize % CHUNK].as_ref()
}

/// Spreads numbers that count up: one multiplication by the golden ratio, its well-mixed high bits
/// brought down to where buckets are chosen.
#[inline]
fn spread(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(26)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    impl Id for u64 {
        fn number(self) -> u64 {
            self
        }
    }

    #[test]
    fn things_come_and_go_as_in_a_map() {
        let (mut slab, mut map) = (IdSlab::default(), BTreeMap::new());
        for id in 0..5_000_u64 {
            assert_eq!(*slab.insert(id, id * 3), id * 3);
            map.insert(id, id * 3);
            let other = id * 7 % 4_001;
            if id % 3 == 0 {
                assert_eq!(slab.remove(other), map.remove(&other));
            }
            assert_eq!(slab.get(other), map.get(&other));
            assert_eq!(slab.get_mut(id / 2), map.get_mut(&(id / 2)));
            assert_eq!(slab.len(), map.len());
        }
        let in_order = slab.in_order().into_iter();
        let all: Vec<_> = in_order.map(|(id, thing)| (id, *thing)).collect();
        assert_eq!(all, map.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn what_is_not_kept_is_gone() {
        let mut slab = IdSlab::default();
        for id in 0..200_u64 {
            slab.insert(id, id);
        }
        slab.retain(|thing| thing % 3 == 0);
        assert_eq!((slab.len(), slab.get(3), slab.get(4)), (67, Some(&3), None));
    }

    #[test]
    fn places_are_used_again() {
        let mut slab = IdSlab::default();
        for id in 0..100_000_u64 {
            slab.insert(id, ());
            slab.remove(id);
        }
        assert!(slab.is_empty());
        assert_eq!(slab.chunks.len(), 1);
    }
}
