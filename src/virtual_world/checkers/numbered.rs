//! Things that are numbered upwards, more or less, and of which most are soon gone: found in one step.

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
    /// Puts something where it belongs; false if there is something already.
    pub(super) fn insert(&mut self, number: u64, thing: T) -> bool {
        if self.places.is_empty() {
            self.first = number;
        }
        while number < self.first {
            self.places.push_front(None);
            self.first -= 1;
        }
        let index = usize::try_from(number - self.first).unwrap_or(usize::MAX);
        while self.places.len() <= index {
            self.places.push_back(None);
        }
        let place = &mut self.places[index];
        let is_free = place.is_none();
        if is_free {
            *place = Some(thing);
            self.count += 1;
        }
        is_free
    }

    /// What is in a place; what was put there if it was empty.
    pub(super) fn get_or_default(&mut self, number: u64) -> &mut T
    where
        T: Default,
    {
        if self.get(number).is_none() {
            self.insert(number, T::default());
        }
        self.get_mut(number).expect("it is there by now")
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
        assert!(!things.insert(9, 'c'), "there is one already");
        assert_eq!((things.get(5), things.get(6)), (Some(&'a'), None));
        assert_eq!((things.remove(5), things.remove(5)), (Some('a'), None));
        assert_eq!(things.iter().collect::<Vec<_>>(), [(9, &'b')]);
        assert_eq!((things.remove(9), things.len()), (Some('b'), 0));
        assert!(
            things.insert(10, 'd') && things.insert(8, 'e'),
            "one comes late"
        );
        assert_eq!(things.iter().collect::<Vec<_>>(), [(8, &'e'), (10, &'d')]);
    }
}
