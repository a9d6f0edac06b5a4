//! `set`, `add` and `delete` of many objects that were piped in: together, if none of them fails.

use std::collections::BTreeSet;

use sim_was::config::edit::{Change, apply};

use super::edits::{Changes, Objects, changes, section_of};
use super::grammar::{Object, Sentence};
use super::{Failure, usable_section};
use crate::administration::store::Store;

/// So many bytes a running server may have to read to make the changes of one order: it reads the file anew for each
/// of them, and does nothing else meanwhile. Assumed: some tenths of a second.
const ORDER_MAX: usize = 8 << 20;
/// The most changes of one order.
const ORDER_CHANGES_MAX: usize = 100;

/// Makes the changes of many sentences together, and says so; how many of them that were. It is none if one of them
/// would fail, so that each has to be tried by itself. A server that runs goes on with its work in between.
pub(super) fn run_all(
    sentences: &[Sentence],
    object: Object,
    store: &Store,
) -> Result<usize, Failure> {
    if sentences.len() < 2 {
        return Ok(0);
    }
    let (before, file) = usable_section(store, section_of(object))?;
    let Some((after, changes)) = all_changes(sentences, object, (&before, &file))? else {
        return Ok(0);
    };
    let all: Vec<Change> = changes.iter().flat_map(|(all, _)| all.clone()).collect();
    store.check(&after, &all)?;
    if store.replace(&before, &after)? {
        for line in changes.iter().flat_map(|(_, lines)| lines) {
            println!("{line}");
        }
        return Ok(sentences.len());
    }
    let of_order = (ORDER_MAX / after.len().max(1)).clamp(1, ORDER_CHANGES_MAX);
    let mut done = 0;
    while done < changes.len() {
        let mut order: Vec<Change> = Vec::new();
        let mut said: Vec<&String> = Vec::new();
        let rest = changes[done..].iter();
        let taken = rest.take_while(|(more, lines)| {
            let fits = order.is_empty() || order.len() + more.len() <= of_order;
            if fits {
                order.extend(more.iter().cloned());
                said.extend(lines);
            }
            fits
        });
        let taken = taken.count();
        if !matches!(store.order(order), Ok(true)) {
            break;
        }
        done += taken;
        for line in said {
            println!("{line}");
        }
    }
    Ok(done)
}

/// The text of a file after the changes of many sentences, with those of each; nothing if two of them say the same
/// of the same object, as the later one depends on the earlier one then.
fn all_changes(
    sentences: &[Sentence],
    object: Object,
    (before, file): (&str, &str),
) -> Result<Option<(String, Vec<Changes>)>, Failure> {
    let objects = Objects::of(before, file);
    let (mut text, mut all) = (before.to_owned(), Vec::new());
    let mut seen = BTreeSet::new();
    for sentence in sentences {
        // What is added may be found by what follows.
        let done = if sentence.verb == "add" {
            changes(sentence, object, &Objects::of(&text, file))?
        } else {
            changes(sentence, object, &objects)?
        };
        text = apply(&text, &done.0)?;
        if !seen.insert(done.1.concat().to_lowercase()) {
            return Ok(None);
        }
        all.push(done);
    }
    Ok(Some((text, all)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_piped_in_is_written_at_once_unless_one_of_it_fails() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::new(root.path().to_owned());
        std::fs::create_dir_all(store.config().parent().unwrap()).unwrap();
        let host = "<configuration><system.applicationHost><applicationPools>\
                    </applicationPools></system.applicationHost></configuration>";
        std::fs::write(store.config(), host).unwrap();
        let add = |names: &[&str]| {
            let sentence = |name: &&str| {
                let words = ["add", "apppool", &format!("/name:{name}")];
                Sentence::parse(&words.map(str::to_owned))
            };
            let sentences: Vec<Sentence> = names.iter().map(sentence).collect();
            run_all(&sentences, Object::AppPool, &store).ok()
        };
        assert_eq!(add(&["A", "B"]), Some(2));
        let written = store.text().unwrap();
        assert!(
            written.contains("<add name=\"A\" /><add name=\"B\" />"),
            "{written}"
        );
        assert_eq!(add(&["C", "a"]), None, "each has to be tried by itself");
        assert_eq!(store.text().unwrap(), written);
    }
}
