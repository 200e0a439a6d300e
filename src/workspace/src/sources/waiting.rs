//! Reports downloads that take long.

use crate::hooks::Reporter;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

/// Shorter downloads are not reported.
const FIRST: Duration = Duration::from_secs(2);
const EACH: Duration = Duration::from_secs(10);

/// A download under way: until it is dropped, a thread reports it every few seconds.
pub(super) struct Waiting {
    bytes: Arc<AtomicU64>,
    ended: Option<Sender<()>>,
    timer: Option<JoinHandle<()>>,
}

impl Waiting {
    pub fn new(url: &str, reporter: Arc<dyn Reporter>) -> Waiting {
        let bytes = Arc::new(AtomicU64::new(0));
        let (ended, end) = mpsc::channel();
        let (url, received) = (url.to_owned(), Arc::clone(&bytes));
        let report = move || {
            let mut wait = FIRST;
            while end.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                reporter.fetching(&url, received.load(Ordering::Relaxed));
                wait = EACH;
            }
        };
        // Without a thread, nothing is reported.
        let timer = std::thread::Builder::new().spawn(report).ok();
        Waiting { bytes, ended: Some(ended), timer }
    }

    /// Sets the number of bytes received in all.
    pub fn set(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Adds bytes received since.
    pub fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.ended = None;
        if let Some(timer) = self.timer.take() {
            let _ = timer.join();
        }
    }
}
