//! Reads files on several threads, and hands them on in their order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;

use super::MergeError;
use crate::sweep::folder::{self, FolderError, Found, Header};
use crate::sweep::table::Table;

/// What is read of a file.
pub(super) type Contents = (Header, Table, Vec<u64>);

/// Reads all files and hands each on, by its number, in order. The first error ends it.
pub(super) fn read(
    files: &[Found],
    jobs: usize,
    take: &mut dyn FnMut(usize, Contents) -> Result<(), MergeError>,
) -> Result<(), MergeError> {
    let next = AtomicUsize::new(0);
    let (sender, receiver) = sync_channel(2 * jobs.max(1));
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let sender = sender.clone();
            let next = &next;
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(found) = files.get(index) else {
                        return;
                    };
                    if sender.send((index, folder::read(&found.path))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut waiting = BTreeMap::new();
        let mut expected = 0;
        for (index, contents) in receiver {
            waiting.insert(index, contents);
            while let Some(contents) = waiting.remove(&expected) {
                take(expected, contents.map_err(damaged)?)?;
                expected += 1;
            }
        }
        Ok(())
    })
}

/// A file that cannot be read to its end is as damaged as one without an end.
fn damaged(error: FolderError) -> MergeError {
    match error {
        FolderError::Parquet { .. } => MergeError::Damaged {
            count: 1,
            first: error.to_string(),
        },
        FolderError::Io { .. } => error.into(),
    }
}
