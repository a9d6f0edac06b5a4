//! The worker's behaviour, told as stories: a [`bench`] that plays driver, WAS, threads and disk.

mod app_offline;
mod bench;
mod bodies;
mod caching;
mod initialization;
mod life;
mod requests;
mod restart;
mod sessions;
mod static_files;

pub(crate) use bench::application;
