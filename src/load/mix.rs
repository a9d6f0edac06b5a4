//! Which URL an attempt asks for: the mix of a profile, and the URLs that come of it, each once.

use std::collections::BTreeMap;

use super::profile::MixEntry;

/// A URL that the plan asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedUrl {
    /// Path and query.
    pub url: String,
    /// The host, if not the default one.
    pub host: Option<String>,
    /// Bytes of the body that is posted to it; with none it is asked for by GET.
    pub body_bytes: u32,
}

impl PlannedUrl {
    /// How it is asked for.
    pub fn method(&self) -> &'static str {
        if self.body_bytes > 0 { "POST" } else { "GET" }
    }
}

/// The mix as running sums, so that a choice is a binary search.
#[derive(Clone, Debug)]
pub(super) struct Mix {
    entries: Vec<MixEntry>,
    weights: Vec<f64>,
    pages: Vec<Vec<f64>>,
    /// The number of the URL of each page, once it was asked for.
    numbers: Vec<Vec<Option<u32>>>,
}

impl Mix {
    pub(super) fn new(entries: &[MixEntry]) -> Self {
        let zipf = |entry: &MixEntry| {
            running_sum((1..=entry.catalogue).map(|rank| f64::from(rank).powf(-entry.zipf)))
        };
        let pages: Vec<Vec<f64>> = entries.iter().map(zipf).collect();
        Self {
            entries: entries.to_vec(),
            weights: running_sum(entries.iter().map(|entry| entry.weight)),
            numbers: pages.iter().map(|pages| vec![None; pages.len()]).collect(),
            pages,
        }
    }

    pub(super) fn choose(&mut self, kind: f64, page: f64, urls: &mut Urls) -> (u32, bool) {
        let index = pick(&self.weights, kind);
        let page = pick(&self.pages[index], page);
        (self.number(index, page, urls), self.entries[index].session)
    }

    fn number(&mut self, index: usize, page: usize, urls: &mut Urls) -> u32 {
        match self.numbers[index][page] {
            Some(number) => number,
            None => self.number_first(index, page, urls),
        }
    }

    #[cold]
    fn number_first(&mut self, index: usize, page: usize, urls: &mut Urls) -> u32 {
        let entry = &self.entries[index];
        // Without a place for it, every page has the same URL.
        let name = page.to_string();
        let host = entry.host.as_ref().map(|host| host.replace("{n}", &name));
        let url = entry.url.replace("{n}", &name);
        let number = urls.number_with_body(&url, host.as_ref(), entry.body_bytes);
        self.numbers[index][page] = Some(number);
        number
    }

    pub(super) fn number_all(&mut self, urls: &mut Urls) {
        for index in 0..self.entries.len() {
            for page in 0..self.pages[index].len() {
                self.number(index, page, urls);
            }
        }
    }
}

fn running_sum(weights: impl Iterator<Item = f64>) -> Vec<f64> {
    weights
        .scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        })
        .collect()
}

/// The index whose part of the sum `unit` falls into.
fn pick(sums: &[f64], unit: f64) -> usize {
    let total = sums.last().copied().unwrap_or(0.0);
    sums.partition_point(|&sum| sum <= unit * total)
        .min(sums.len().saturating_sub(1))
}

/// The URLs that have been asked for, each once.
#[derive(Clone, Debug, Default)]
pub(super) struct Urls {
    pub(super) list: Vec<PlannedUrl>,
    numbers: BTreeMap<(String, Option<String>, u32), u32>,
}

impl Urls {
    /// The number of one that is asked for by GET.
    pub(super) fn number(&mut self, url: &str, host: Option<&String>) -> u32 {
        self.number_with_body(url, host, 0)
    }

    fn number_with_body(&mut self, url: &str, host: Option<&String>, body_bytes: u32) -> u32 {
        let key = (url.to_owned(), host.cloned(), body_bytes);
        *self
            .numbers
            .entry(key)
            .or_insert_with_key(|(url, host, _)| {
                self.list.push(PlannedUrl {
                    url: url.clone(),
                    host: host.clone(),
                    body_bytes,
                });
                u32::try_from(self.list.len() - 1).unwrap_or(u32::MAX)
            })
    }
}
