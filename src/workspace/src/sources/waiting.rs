//! Says what is waited for, once it takes a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::print::remark;
use crate::progress::bytes as in_words;

/// Nothing is said of what takes less.
const FIRST: Duration = Duration::from_secs(2);
const EACH: Duration = Duration::from_secs(10);

/// While this lives, a line on standard error now and then.
pub(super) struct Waiting {
    bytes: Arc<AtomicU64>,
    ended: Option<Sender<()>>,
    teller: Option<JoinHandle<()>>,
}

impl Waiting {
    pub fn new(url: &str, is_shown: bool) -> Waiting {
        let bytes = Arc::new(AtomicU64::new(0));
        let (ended, end) = mpsc::channel();
        let (url, received) = (url.to_owned(), Arc::clone(&bytes));
        let tell = move || {
            let mut wait = FIRST;
            while end.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                let so_far = match received.load(Ordering::Relaxed) {
                    0 => String::new(),
                    count => format!(": {}", in_words(count)),
                };
                remark!("fetching `{url}`{so_far}");
                wait = EACH;
            }
        };
        // Without a thread, nothing is said.
        let teller = is_shown.then(|| std::thread::Builder::new().spawn(tell).ok()).flatten();
        Waiting { bytes, ended: Some(ended), teller }
    }

    /// Notes how many bytes have come in all.
    pub fn set(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Notes how many bytes have come since.
    pub fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.ended = None;
        if let Some(teller) = self.teller.take() {
            let _ = teller.join();
        }
    }
}
