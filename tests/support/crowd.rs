//! Clients that ask one page after another, and their book.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;

use super::{Browser, Up};

/// Clients that ask one page after another until they are stopped.
pub struct Crowd {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU32>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Crowd {
    /// Clients that keep their connections.
    pub fn gather(up: &Up, size: usize) -> Self {
        Self::at(up.address("http/"), "/default.aspx", (size, 0))
    }

    /// So many clients that keep their connections, and so many that take a new one for each request.
    pub fn at(address: SocketAddr, page: &'static str, (kept, one_shot): (usize, usize)) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU32::new(0));
        let clients = (0..kept + one_shot)
            .map(|client| {
                let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
                std::thread::spawn(move || {
                    let mut browser = Browser::connect(address);
                    let mut failures = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        if client >= kept {
                            browser = Browser::connect(address);
                        }
                        match browser.get(page) {
                            Ok(page) if page.status == 200 => {
                                answered.fetch_add(1, Ordering::Relaxed);
                            }
                            Ok(page) => failures.push(format!("status {}", page.status)),
                            Err(error) => {
                                failures.push(error.to_string());
                                browser = Browser::connect(address);
                            }
                        }
                    }
                    failures
                })
            })
            .collect();
        Self {
            stop,
            answered,
            clients,
        }
    }

    /// Waits for so many more answers.
    pub fn until_answered(&self, up: &Up, more: u32) {
        let before = self.answered.load(Ordering::Relaxed);
        up.until("answers", || {
            self.answered.load(Ordering::Relaxed) >= before + more
        });
    }

    /// How many were answered, and what went wrong.
    pub fn leave(self) -> (u32, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let failures = self
            .clients
            .into_iter()
            .flat_map(|client| client.join().expect("a client does not panic"))
            .collect();
        (self.answered.load(Ordering::Relaxed), failures)
    }
}
