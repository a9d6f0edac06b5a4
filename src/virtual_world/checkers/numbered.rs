//! Things that are numbered upwards, most of which are soon gone: found in one step, without a tree.

use std::collections::VecDeque;

/// Things by their numbers.
#[derive(Debug)]
pub(super) struct Numbered<T> {
    /// The number of the first place.
    first: u64,
    places: VecDeque<Option<T>>,
    count: usize,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self {
            first: 0,
            places: VecDeque::new(),
            count: 0,
        }
    }
}

impl<T> Numbered<T> {
    /// Puts something where it belongs; false if the number is not above all earlier ones.
    pub(super) fn insert(&mut self, number: u64, thing: T) -> bool {
        if self.places.is_empty() {
            if number < self.first {
                return false;
            }
            self.first = number;
        }
        let end = self.first + self.places.len() as u64;
        if number < end {
            return false;
        }
        for _ in end..number {
            self.places.push_back(None);
        }
        self.places.push_back(Some(thing));
        self.count += 1;
        true
    }

    pub(super) fn get(&self, number: u64) -> Option<&T> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.places.get(index)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.places.get_mut(index)?.as_mut()
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<T> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let thing = self.places.get_mut(index)?.take()?;
        self.count -= 1;
        while let Some(None) = self.places.front() {
            self.places.pop_front();
            self.first += 1;
        }
        Some(thing)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let places = (self.first..).zip(&self.places);
        places.filter_map(|(number, thing)| Some((number, thing.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_found_by_their_numbers_until_they_are_taken() {
        let mut things = Numbered::default();
        assert!(things.insert(5, 'a') && things.insert(9, 'b'));
        assert!(!things.insert(7, 'c'), "numbers only grow");
        assert_eq!((things.get(5), things.get(6)), (Some(&'a'), None));
        assert_eq!((things.remove(5), things.remove(5)), (Some('a'), None));
        assert_eq!(things.iter().collect::<Vec<_>>(), [(9, &'b')]);
        assert_eq!((things.remove(9), things.len()), (Some('b'), 0));
        assert!(!things.insert(9, 'd'), "no number is used twice");
        assert!(things.insert(10, 'e'));
    }
}
