//! Files from the network: in parallel, resumable, verified, from any URL that has them.
//!
//! A [`Fetcher`] is made once and shared by all threads; it keeps connections alive and bounds the
//! number of transfers. [`Fetcher::fetch`] tries the URLs of one file in order. The invariant: a
//! file appears at its destination whole, with the expected hash, or not at all. The bytes of an
//! unfinished one wait in the partial directory under the expected hash, so that any URL, and any
//! later process, can continue it.
//!
//! No host is known here: see `mirrors.rs`. Setting the executable bit and putting
//! the file into the store is left to the caller.
//!
//! ```text
//!   urls ──mirrors──▶ real urls ──┬─ file:// ──────────────┐
//!    in order, unreachable last   └─ http.rs ──▶ partial.rs ──hash──▶ dest
//!                                    range, redirects, proxy     mismatch: next url
//! ```

mod config;
mod error;
mod netrc;
mod proxy;

mod apt;
mod http;
mod mirrors;
mod partial;
mod url;

#[cfg(test)]
mod tests;

pub use config::FetchConfig;
pub use error::{Attempt, AttemptKind, FetchError, Mismatch};
pub use netrc::Netrc;
pub use proxy::ProxyRules;
pub use url::redact;

use error::{TransferError, TransferErrorKind};
use model::hash::{Hash, HashAlgorithm};
use os::SysError;
use os::space::OutOfSpace;
use partial::Partial;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use url::Url;

/// The longest wait between two tries, also when a server asks for more.
const BACKOFF_MAX: Duration = Duration::from_secs(8);

/// Time for which a host that could not be reached is tried last.
const UNREACHABLE_FOR: Duration = Duration::from_secs(120);

/// One file to fetch.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// The file's http, https, file and mirror URLs, best first.
    pub urls: Vec<String>,
    /// The hash of the file's bytes; none only where the caller pins the result in another way.
    pub expected: Option<Hash>,
    /// The name of the file in messages.
    pub name: String,
}

/// A file that has arrived.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The URL that gave the last byte, its password hidden.
    pub url: String,
    /// The size of the file.
    pub size_bytes: u64,
    /// The hash of the file: of the expected hash's algorithm, else SHA-256.
    pub hash: Hash,
}

/// The answer of a server to [`Fetcher::exchange`].
pub struct Answer {
    /// The URL that gave it, after redirects.
    pub redirected: Option<String>,
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body, at most [`FetchConfig::size_max_bytes`] of it.
    pub body: Box<dyn Read + Send>,
}

/// Fetches files; to be shared between threads.
pub struct Fetcher {
    config: FetchConfig,
    client: http::Client,
    running: Mutex<usize>,
    one_ended: Condvar,
    unreachable: Mutex<BTreeMap<String, Instant>>,
}

impl Fetcher {
    /// Returns a fetcher; nothing is read or connected to before the first fetch.
    pub fn new(config: FetchConfig) -> Self {
        Self {
            config,
            client: http::Client::new(),
            running: Mutex::new(0),
            one_ended: Condvar::new(),
            unreachable: Mutex::default(),
        }
    }

    /// Returns the settings this fetcher was made with.
    pub fn config(&self) -> &FetchConfig {
        &self.config
    }

    /// Fetches one file to `dest`, whose directory must exist; a file there is replaced.
    ///
    /// `progress` is called with the bytes at hand and, when the server says it, the size of the
    /// file. It is called often, and the first number falls when a URL turns out to be useless. The
    /// call waits while `parallel` others run.
    ///
    /// # Errors
    /// [`FetchError::Failed`] names every URL tried, with the reason.
    pub fn fetch(
        &self,
        fetch: &Fetch,
        dest: &Path,
        progress: &dyn Fn(u64, Option<u64>),
    ) -> Result<Fetched, FetchError> {
        let name = || fetch.name.clone();
        if fetch.urls.is_empty() {
            return Err(FetchError::NoUrl { name: name() });
        }
        let _slot = self.wait_for_slot().ok_or_else(|| FetchError::Cancelled { name: name() })?;
        let mut attempts = Vec::new();
        let mut without_mirror = Vec::new();
        let mut candidates = self.candidates(fetch, &mut without_mirror);
        if self.config.offline {
            candidates.retain(|candidate| candidate.starts_with("file:"));
            if candidates.is_empty() {
                return Err(FetchError::Offline { name: name() });
            }
        }

        let algorithm = fetch.expected.map_or(HashAlgorithm::Sha256, |hash| hash.algorithm());
        let key = part_key(fetch);
        let local = |call, path: &Path| {
            let (path, name) = (path.to_owned(), fetch.name.clone());
            move |error: io::Error| FetchError::Local { name, source: SysError::io(call, path, &error) }
        };
        let mut part = Partial::open(&self.config, &key, algorithm)
            .map_err(local("open", &self.config.partial_dir.join(format!("{key}.part"))))?
            .ok_or_else(|| FetchError::Cancelled { name: name() })?;

        for candidate in candidates {
            match self.try_url(fetch, &candidate, &mut part, progress) {
                Ok(hash) => {
                    let size_bytes = part.len();
                    part.finish(dest).map_err(|source| {
                        out_of_space(&source, name()).unwrap_or_else(|| local("write", dest)(source))
                    })?;
                    return Ok(Fetched { url: url::redact(&candidate).into_owned(), size_bytes, hash });
                }
                Err(Stop::Attempt(attempt)) => attempts.push(*attempt),
                Err(Stop::Cancelled) => return Err(FetchError::Cancelled { name: name() }),
                Err(Stop::OutOfSpace(source)) => {
                    part.discard();
                    return Err(FetchError::OutOfSpace { name: name(), source });
                }
                Err(Stop::Local(source)) => {
                    let error = local("write", part.path());
                    if source.kind() == io::ErrorKind::StorageFull {
                        part.discard();
                    }
                    return Err(error(source));
                }
            }
        }
        part.drop_if_empty();
        // The reasons of real requests come first.
        attempts.append(&mut without_mirror);
        Err(FetchError::Failed { name: name(), attempts })
    }

    /// Asks a server something that is no file, as a protocol on top of HTTP does; with a body, it
    /// is posted. Nothing is stored: a caller that stores the answer checks the free space.
    ///
    /// Redirects of a request that is not posted are followed, logins and proxies are those of
    /// [`Fetcher::fetch`], and errors that may pass are retried.
    ///
    /// # Errors
    /// [`FetchError::Failed`] with the answer of the server, when that is not 200 OK.
    pub fn exchange(&self, url: &str, headers: &[(String, String)], body: Option<&[u8]>) -> Result<Answer, FetchError> {
        let name = || url::redact(url).into_owned();
        let failed = |tries, reason, kind| {
            let attempt = Attempt { url: name(), tries, reason, kind, mismatch: None };
            FetchError::Failed { name: name(), attempts: vec![attempt] }
        };
        let start = Url::parse(url).map_err(|reason| failed(0, reason, AttemptKind::Final))?;
        if self.config.offline {
            return Err(FetchError::Offline { name: name() });
        }
        let mut tries = 0;
        loop {
            tries += 1;
            let result = self.client.exchange(&self.config, &start, headers, body);
            let error = match result {
                Ok((response, from)) => {
                    let headers = response.headers().iter();
                    let headers = headers.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
                    let headers = headers.collect();
                    let redirected = (from != start).then(|| from.to_string());
                    let body = response.into_body().into_with_config().limit(self.config.size_max_bytes).reader();
                    return Ok(Answer { redirected, headers, body: Box::new(body) });
                }
                Err(error) => error,
            };
            let retries = match error.kind {
                TransferErrorKind::Flaky => self.config.retries,
                TransferErrorKind::Unreachable => self.config.retries.min(1),
                TransferErrorKind::Final | TransferErrorKind::Local(_) | TransferErrorKind::OutOfSpace(_) => 0,
                TransferErrorKind::Cancelled => return Err(FetchError::Cancelled { name: name() }),
            };
            if tries > retries {
                return Err(failed(tries, error.reason, self.attempt_kind(&error.kind, &start)));
            }
            let doubled = self.config.backoff * 2u32.saturating_pow(tries - 1);
            if self.sleep(error.retry_after.unwrap_or(doubled).min(BACKOFF_MAX)).is_err() {
                return Err(FetchError::Cancelled { name: name() });
            }
        }
    }

    /// Expands mirrors, and moves hosts that could not be reached a moment ago to the end.
    fn candidates(&self, fetch: &Fetch, attempts: &mut Vec<Attempt>) -> Vec<String> {
        let mut candidates = Vec::new();
        for given in &fetch.urls {
            match mirrors::expand(&self.config, given) {
                Ok(urls) => candidates.extend(urls),
                Err((reason, kind)) => {
                    let url = url::redact(given).into_owned();
                    attempts.push(Attempt { url, tries: 0, reason, kind, mismatch: None })
                }
            }
        }
        let unreachable = os::lock(&self.unreachable);
        if !unreachable.is_empty() {
            candidates.sort_by_key(|candidate| {
                Url::parse(candidate)
                    .is_ok_and(|url| unreachable.get(&url.host).is_some_and(|since| since.elapsed() < UNREACHABLE_FOR))
            });
        }
        candidates
    }

    /// Gets the file from one URL, with retries, and checks its hash.
    fn try_url(
        &self,
        fetch: &Fetch,
        candidate: &str,
        part: &mut Partial,
        progress: &dyn Fn(u64, Option<u64>),
    ) -> Result<Hash, Stop> {
        let attempt = |tries, reason: String, kind, mismatch| {
            Stop::Attempt(Box::new(Attempt { url: url::redact(candidate).into_owned(), tries, reason, kind, mismatch }))
        };
        let mut tries = 0;
        let mut failures = 0;
        let mut furthest = part.len();
        let mut inherited = part.len() > 0;
        loop {
            tries += 1;
            let result = if candidate.starts_with("file:") {
                copy_local(&self.config, candidate, part, progress)
            } else {
                match Url::parse(candidate) {
                    Ok(url) => {
                        let result = self.client.transfer(&self.config, &url, part, fetch.expected.is_some(), progress);
                        self.note_reachability(&url, &result);
                        result
                    }
                    Err(reason) => return Err(attempt(0, reason, AttemptKind::Final, None)),
                }
            };
            match result {
                Ok(()) => {
                    let got = part.hash();
                    match fetch.expected {
                        Some(expected) if expected != got => {
                            part.restart().map_err(Stop::Local)?;
                            // The beginning may have come from elsewhere: this URL has not shown
                            // its own file yet.
                            if inherited {
                                (inherited, furthest) = (false, 0);
                                continue;
                            }
                            let reason = format!(
                                "the file has another hash\n    specified: {}\n    got:       {}",
                                expected.sri(),
                                got.sri()
                            );
                            return Err(attempt(tries, reason, AttemptKind::Final, Some(Mismatch { expected, got })));
                        }
                        _ => return Ok(got),
                    }
                }
                Err(error) => {
                    let retries = match error.kind {
                        TransferErrorKind::Flaky => self.config.retries,
                        TransferErrorKind::Unreachable => self.config.retries.min(1),
                        TransferErrorKind::Final => 0,
                        TransferErrorKind::Cancelled => return Err(Stop::Cancelled),
                        TransferErrorKind::OutOfSpace(full) => return Err(Stop::OutOfSpace(full)),
                        TransferErrorKind::Local(errno) => return Err(Stop::Local(errno.into())),
                    };
                    // Every byte gained is a sign of life.
                    failures = if part.len() > furthest { 1 } else { failures + 1 };
                    furthest = furthest.max(part.len());
                    if failures > retries {
                        let kind = Url::parse(candidate)
                            .map_or(AttemptKind::Final, |url| self.attempt_kind(&error.kind, &url));
                        return Err(attempt(tries, error.reason, kind, None));
                    }
                    let doubled = self.config.backoff * 2u32.saturating_pow(failures - 1);
                    self.sleep(error.retry_after.unwrap_or(doubled).min(BACKOFF_MAX))?;
                }
            }
        }
    }

    fn attempt_kind(&self, kind: &TransferErrorKind, url: &Url) -> AttemptKind {
        match kind {
            TransferErrorKind::Unreachable => {
                let proxy = self.config.proxies.proxy_for(url.scheme, &url.host, url.port);
                AttemptKind::Unreachable { host: proxy.map_or_else(|| url.authority(), url::authority_of) }
            }
            TransferErrorKind::Flaky => AttemptKind::Transient,
            _ => AttemptKind::Final,
        }
    }

    fn note_reachability(&self, url: &Url, result: &Result<(), TransferError>) {
        let mut unreachable = os::lock(&self.unreachable);
        match result {
            Err(TransferError { kind: TransferErrorKind::Unreachable, .. }) => {
                unreachable.insert(url.host.clone(), Instant::now());
            }
            Ok(()) => {
                unreachable.remove(&url.host);
            }
            Err(_) => {}
        }
    }

    fn sleep(&self, wait: Duration) -> Result<(), Stop> {
        let until = Instant::now() + wait;
        while Instant::now() < until {
            if self.config.cancel.load(Ordering::Relaxed) {
                return Err(Stop::Cancelled);
            }
            std::thread::sleep(Duration::from_millis(20).min(wait));
        }
        Ok(())
    }

    fn wait_for_slot(&self) -> Option<Slot<'_>> {
        let mut running = os::lock(&self.running);
        while *running >= self.config.parallel.max(1) {
            if self.config.cancel.load(Ordering::Relaxed) {
                return None;
            }
            let wait = self.one_ended.wait_timeout(running, Duration::from_millis(100));
            running = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
        *running += 1;
        Some(Slot(self))
    }
}

/// The right to transfer, given back when dropped.
struct Slot<'a>(&'a Fetcher);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        *os::lock(&self.0.running) -= 1;
        self.0.one_ended.notify_one();
    }
}

/// Reason for which one URL gave no file.
enum Stop {
    Attempt(Box<Attempt>),
    Cancelled,
    Local(io::Error),
    OutOfSpace(OutOfSpace),
}

fn out_of_space(error: &io::Error, name: String) -> Option<FetchError> {
    let source = error.get_ref()?.downcast_ref::<OutOfSpace>()?.clone();
    Some(FetchError::OutOfSpace { name, source })
}

/// The name of the part: the hash the file will have, so that all derivations that want it share
/// one download.
fn part_key(fetch: &Fetch) -> String {
    match &fetch.expected {
        Some(hash) => format!("{}-{}", hash.algorithm(), hash.hex()),
        None => format!("url-{}", HashAlgorithm::Blake3.hash(fetch.urls.join("\n").as_bytes()).hex()),
    }
}

/// Copies a `file:` URL: a local file is read again each time, as that costs less than to detect a
/// change.
fn copy_local(
    config: &FetchConfig,
    candidate: &str,
    part: &mut Partial,
    progress: &dyn Fn(u64, Option<u64>),
) -> Result<(), TransferError> {
    use std::os::unix::ffi::OsStringExt;
    let path = candidate.strip_prefix("file:").unwrap_or(candidate);
    let path = match path.strip_prefix("//") {
        Some(rest) => rest.strip_prefix("localhost").unwrap_or(rest),
        None => path,
    };
    if !path.starts_with('/') {
        return Err(TransferError::last("a file URL names an absolute path, as in `file:///srv/mirror/x.tar.xz`"));
    }
    let path = PathBuf::from(std::ffi::OsString::from_vec(url::percent_decode(path)));
    let wrong =
        |error: io::Error| TransferError::last(format!("cannot read `{}`: {}", path.display(), os::io_reason(&error)));
    let metadata = fs::metadata(&path).map_err(wrong)?;
    if !metadata.is_file() {
        return Err(TransferError::last(format!("`{}` is not a regular file", path.display())));
    }
    let mut file = File::open(&path).map_err(wrong)?;
    let local = |error: io::Error| TransferError::local("cannot write", &error);
    part.restart().map_err(local)?;
    if metadata.len() <= config.size_max_bytes {
        part.require(metadata.len()).map_err(local)?;
    }
    let mut buffer = vec![0; 1 << 17];
    loop {
        if config.cancel.load(Ordering::Relaxed) {
            return Err(TransferError::new(TransferErrorKind::Cancelled, "cancelled"));
        }
        let n = match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(wrong(error)),
        };
        if part.len() + n as u64 > config.size_max_bytes {
            return Err(TransferError::last(format!(
                "the file has more than the {} bytes allowed",
                config.size_max_bytes
            )));
        }
        part.append(&buffer[..n]).map_err(local)?;
        progress(part.len(), Some(metadata.len()));
    }
}
