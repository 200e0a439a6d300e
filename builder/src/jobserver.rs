//! Job tokens for the cores of the machine, and the builds that ask for a share of them
//! (`__jobserver`).
//!
//! There is a token for each process that may run at a time. Every running build has one. A build
//! takes a further token for each further process, by the protocol of GNU make, which ninja and
//! cargo speak as well: a byte read from a FIFO takes a token, a byte written to it returns one.
//!
//! ```text
//!   TokenPool ──broker──▶ FIFO of build 1 ◀─▶ make, make, make
//!             ──broker──▶ FIFO of build 2 ◀─▶ ninja
//! ```
//!
//! A FIFO shared by two builds would be a covert channel, and a token that one of them leaked would
//! be lost to the others. So each build has its own FIFO, and the *broker*, a thread that runs
//! while there is any, moves tokens between them. A FIFO holds at most one unused token; the broker
//! replaces it once it is taken. A token returned beyond that one goes back to the pool, as do all
//! tokens of a build that ends. The broker counts and drops the bytes that it reads; it never
//! passes them on.
//!
//! An empty FIFO does not show whether a process waits for it. When tokens are scarce, a build that
//! leaves its spare token unused loses it to the others, and is offered one less and less often.
//!
//! Invariant: the tokens in the pool, of builds and in FIFOs are as many as there were at first,
//! plus `debt`: the builds that had to start without one (see [`STALL_TIMEOUT`]).

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use os::lock;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Time after which a token that is unused in a FIFO goes to another build that may need it.
const UNUSED_MAX: Duration = Duration::from_millis(20);
/// The longest time until a build that left tokens unused is offered one again.
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// Longest wait of a build for its first token while no build takes or returns any. Some build then
/// keeps its tokens, and must not block the others.
const STALL_TIMEOUT: Duration = if cfg!(test) { Duration::from_millis(500) } else { Duration::from_secs(10) };
/// Interval at which the cancel flag is read, and FIFOs for which the kernel sends no
/// notifications.
const POLL: Duration = Duration::from_millis(50);
/// The least time between two rounds of the broker, so that a build cannot keep it busy.
const ROUND_MIN: Duration = Duration::from_micros(500);
/// The byte of a token. Programs return the byte that they took, or any other.
const TOKEN: &[u8] = b"+";

/// All tokens of a builder.
pub(crate) struct TokenPool {
    shared: Arc<SharedPool>,
}

/// The part of a pool that its broker shares.
struct SharedPool {
    state: Mutex<PoolState>,
    freed: Condvar,
}

#[derive(Default)]
struct PoolState {
    free: usize,
    /// Builds that started without a token.
    debt: usize,
    /// Builds that wait for their first token.
    waiting: usize,
    clients: BTreeMap<u64, Client>,
    next_client: u64,
    /// Time at which a build last took or returned a token.
    moved: Option<Instant>,
    /// Notifies the broker of reads and writes, while there is a broker.
    broker: Option<Arc<Watcher>>,
}

/// Notifications of reads and writes. When the kernel grants this user no more of them, the broker
/// reads FIFOs every [`POLL`] instead.
struct Watcher(Option<Inotify>);

/// A build's FIFO.
struct Client {
    fifo: File,
    watch: Option<WatchDescriptor>,
    /// The most tokens it may have.
    max: usize,
    /// Tokens it has, the one in the FIFO included.
    given: usize,
    /// Time since which a token is unused in the FIFO.
    spare: Option<Instant>,
    /// Time at which it was last offered one.
    offered: Option<Instant>,
    /// Set when the next notification of a read is caused by our own [`Client::drain`].
    drained: bool,
    /// Tokens in a row that were taken back from it unused.
    unused: u32,
    /// While others need tokens, it is offered none before this time.
    not_before: Option<Instant>,
}

/// The token that a build has as long as it runs. Dropping it returns the token.
pub(crate) struct JobToken<'a> {
    pool: &'a TokenPool,
}

/// The further tokens of a build. Dropping it returns all of them.
pub(crate) struct ServedTokens<'a> {
    pool: &'a TokenPool,
    id: u64,
}

impl TokenPool {
    /// Returns a pool of `tokens`, at least one.
    pub fn new(tokens: usize) -> TokenPool {
        let state = PoolState { free: tokens.max(1), ..PoolState::default() };
        TokenPool { shared: Arc::new(SharedPool { state: Mutex::new(state), freed: Condvar::new() }) }
    }

    /// Waits for the first token of a build. The build starts without one when no token moved for
    /// [`STALL_TIMEOUT`], and when `cancelled` is set, which is for the build to notice.
    pub fn take(&self, cancelled: &AtomicBool) -> JobToken<'_> {
        let mut state = self.shared.lock();
        state.waiting += 1;
        let began = Instant::now();
        loop {
            if state.free == 0 {
                state.balance(Instant::now());
            }
            if state.free > 0 {
                state.free -= 1;
                break;
            }
            let since = state.moved.map_or(began, |moved| moved.max(began));
            if since.elapsed() >= STALL_TIMEOUT || cancelled.load(Ordering::Relaxed) {
                state.debt += 1;
                break;
            }
            state = self.shared.freed.wait_timeout(state, POLL).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.waiting -= 1;
        JobToken { pool: self }
    }

    /// Makes a FIFO at `path`, which other users must not reach, and serves at most `max` tokens
    /// there.
    ///
    /// # Errors
    /// When the FIFO cannot be made, or the thread that serves it not be started.
    pub fn serve(&self, path: &Path, max: usize) -> io::Result<ServedTokens<'_>> {
        mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        // Opened for reading and writing, so that neither side ever sees its end. A description of
        // its own, so that a build that makes its end blocking does not change this one.
        let fifo = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        let mut state = self.shared.lock();
        let watcher = match &state.broker {
            Some(watcher) => Arc::clone(watcher),
            None => {
                let flags = InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC;
                let watcher = Arc::new(Watcher(Inotify::init(flags).ok()));
                let (shared, events) = (Arc::clone(&self.shared), Arc::clone(&watcher));
                std::thread::Builder::new().name("jobserver".into()).spawn(move || shared.run_broker(&events))?;
                state.broker = Some(Arc::clone(&watcher));
                watcher
            }
        };
        let events = AddWatchFlags::IN_ACCESS | AddWatchFlags::IN_MODIFY;
        let watch = watcher.0.as_ref().and_then(|inotify| inotify.add_watch(path, events).ok());
        let id = state.next_client;
        state.next_client += 1;
        let client = Client {
            fifo,
            watch,
            max,
            given: 0,
            spare: None,
            offered: None,
            drained: false,
            unused: 0,
            not_before: None,
        };
        state.clients.insert(id, client);
        state.balance(Instant::now());
        Ok(ServedTokens { pool: self, id })
    }
}

impl Drop for JobToken<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.shared.lock();
        // The debt of a build that started without a token was paid by a token that came back, or
        // ends here.
        state.put_back(1);
        state.balance(Instant::now());
        self.pool.shared.freed.notify_all();
    }
}

impl Drop for ServedTokens<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.shared.lock();
        if let Some(client) = state.clients.remove(&self.id) {
            // This also wakes the broker, which ends when no client is left.
            if let (Some(watcher), Some(watch)) = (&state.broker, client.watch)
                && let Some(inotify) = &watcher.0
            {
                let _ = inotify.rm_watch(watch);
            }
            state.put_back(client.given);
            state.moved = Some(Instant::now());
        }
        state.balance(Instant::now());
        self.pool.shared.freed.notify_all();
    }
}

impl SharedPool {
    fn lock(&self) -> MutexGuard<'_, PoolState> {
        lock(&self.state)
    }

    /// Moves tokens whenever a FIFO was read or written, until no client is left.
    fn run_broker(&self, watcher: &Watcher) {
        let mut wait = None;
        loop {
            let read = watcher.wait(wait);
            let mut state = self.lock();
            if state.clients.is_empty() {
                state.broker = None;
                return;
            }
            let clients = state.clients.values_mut();
            for client in clients.filter(|client| client.watch.is_some_and(|watch| read.contains(&watch))) {
                client.was_read(Instant::now());
            }
            wait = state.balance(Instant::now());
            let free = state.free > 0;
            drop(state);
            if free {
                self.freed.notify_all();
            }
            std::thread::sleep(ROUND_MIN);
        }
    }
}

impl Watcher {
    /// Waits until a FIFO was read or written, a client is gone, or `time` is over. Returns the
    /// FIFOs that were read.
    fn wait(&self, time: Option<Duration>) -> Vec<WatchDescriptor> {
        let Some(inotify) = &self.0 else {
            std::thread::sleep(time.map_or(POLL, |time| time.min(POLL)));
            return Vec::new();
        };
        // Rounded up, as a poll of zero milliseconds would spin.
        let time = time.map(|time| time + Duration::from_millis(1));
        let time = time.map_or(PollTimeout::NONE, |time| PollTimeout::try_from(time).unwrap_or(PollTimeout::NONE));
        let mut polled = [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)];
        if !poll(&mut polled, time).is_ok_and(|count| count > 0) {
            return Vec::new();
        }
        let events = inotify.read_events().unwrap_or_default();
        events.into_iter().filter(|event| event.mask.contains(AddWatchFlags::IN_ACCESS)).map(|event| event.wd).collect()
    }
}

impl PoolState {
    /// Returns `count` tokens to the pool.
    fn put_back(&mut self, count: usize) {
        let paid = count.min(self.debt);
        self.debt -= paid;
        self.free += count - paid;
    }

    /// Reads the state of all FIFOs and moves tokens to builds that need them. Returns the time
    /// after which that has to be repeated even if no FIFO is read or written.
    fn balance(&mut self, now: Instant) -> Option<Duration> {
        let mut returned = 0;
        for client in self.clients.values_mut() {
            let (back, moved) = client.update(now);
            returned += back;
            if moved {
                self.moved = Some(now);
            }
        }
        self.put_back(returned);
        // Builds that wait to start come first, and the debt of the pool.
        while self.free < self.waiting || self.debt > 0 {
            let Some(client) =
                self.clients.values_mut().filter(|client| client.spare.is_some()).min_by_key(|c| c.spare)
            else {
                break;
            };
            let back = client.take_back();
            self.put_back(back);
        }
        self.revoke_unused(now);
        while self.free > self.waiting {
            let wanting = self.clients.values_mut().filter(|client| client.wants());
            let Some(client) = wanting.min_by_key(|client| (!client.is_due(now), client.offered)) else { break };
            if client.offer(now) {
                self.free -= 1;
            }
        }
        // One build may need the token that another one leaves unused.
        let asking = self.clients.values().filter(|client| client.wants()).map(|client| client.not_before).min();
        let unused = self.clients.values().filter_map(|client| client.spare).min();
        let revocable = asking.zip(unused).map(|(asking, since)| asking.unwrap_or(now).max(since + UNUSED_MAX));
        let unwatched = self.clients.values().any(|client| client.watch.is_none()).then(|| now + POLL);
        let next = revocable.into_iter().chain(unwatched).min();
        next.map(|next| next.saturating_duration_since(now))
    }

    /// Takes back tokens that stayed unused for a while, as far as other builds may need them.
    fn revoke_unused(&mut self, now: Instant) {
        let hungry = self.clients.values().filter(|client| client.wants() && client.is_due(now)).count();
        let mut missing = (hungry + self.waiting).saturating_sub(self.free);
        let mut returned = 0;
        for client in self.clients.values_mut() {
            if missing == 0 {
                break;
            }
            if client.spare.is_some_and(|since| now.saturating_duration_since(since) >= UNUSED_MAX) {
                let back = client.take_back();
                let backoff = UNUSED_MAX.saturating_mul(1 << client.unused.min(10)).min(BACKOFF_MAX);
                client.unused = client.unused.saturating_add(1);
                client.not_before = Some(now + backoff);
                missing -= back.min(missing);
                returned += back;
            }
        }
        self.put_back(returned);
    }
}

impl Client {
    /// Compares the FIFO with its last known state. Returns how many tokens came back, and true
    /// when any was taken or returned.
    fn update(&mut self, now: Instant) -> (usize, bool) {
        let unread = rustix::io::ioctl_fionread(&self.fifo).unwrap_or(0);
        match (self.spare, unread) {
            (None, 0) | (Some(_), 1) => (0, false),
            (Some(_), 0) => {
                self.spare = None;
                self.unused = 0;
                self.not_before = None;
                (0, true)
            }
            (None, 1) => {
                // A token that came back to an empty FIFO stays there. A byte from a build that was
                // given none is no token.
                if self.given == 0 {
                    self.drain();
                    return (0, false);
                }
                self.spare = Some(now);
                (0, true)
            }
            (_, _) => {
                let back = self.take_back();
                (back, back > 0)
            }
        }
    }

    /// Notes that a process read from the FIFO. A token that is there nevertheless was in use and
    /// came back just now.
    fn was_read(&mut self, now: Instant) {
        if !std::mem::take(&mut self.drained) && self.spare.is_some() {
            self.spare = Some(now);
            self.unused = 0;
        }
    }

    /// Empties the FIFO; returns how many tokens were in it.
    fn take_back(&mut self) -> usize {
        // A build that writes more bytes than it took gets no more tokens for them.
        let back = self.drain().min(self.given);
        self.given -= back;
        self.spare = None;
        back
    }

    fn drain(&mut self) -> usize {
        let mut bytes = [0; 4096];
        self.drained = true;
        // One read: a build that writes without end must not keep the broker here.
        self.fifo.read(&mut bytes).unwrap_or(0)
    }

    /// Returns true when its FIFO is empty, so that a process may be waiting.
    fn wants(&self) -> bool {
        self.spare.is_none() && self.given < self.max
    }

    /// Returns true unless it has to wait for its next offer.
    fn is_due(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|time| now >= time)
    }

    /// Puts a token into the FIFO; returns false when a build has filled it.
    fn offer(&mut self, now: Instant) -> bool {
        if self.fifo.write(TOKEN).is_err() {
            self.max = self.given;
            return false;
        }
        self.given += 1;
        self.spare = Some(now);
        self.offered = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    const LONG: Duration = Duration::from_secs(20);

    struct World {
        directory: tempfile::TempDir,
        pool: TokenPool,
    }

    impl World {
        fn new(tokens: usize) -> World {
            World { directory: tempfile::tempdir().unwrap(), pool: TokenPool::new(tokens) }
        }

        /// A build with a FIFO of its own, opened as its programs would.
        fn build(&self, name: &str, max: usize) -> (ServedTokens<'_>, File) {
            let path = self.directory.path().join(name);
            let served = self.pool.serve(&path, max).unwrap();
            (served, OpenOptions::new().read(true).write(true).open(path).unwrap())
        }

        fn token(&self) -> JobToken<'_> {
            self.pool.take(&AtomicBool::new(false))
        }

        /// Returns all tokens, less the debt; `running` is the number of builds.
        fn total(&self, running: usize) -> usize {
            let state = self.pool.shared.lock();
            state.free + running + state.clients.values().map(|client| client.given).sum::<usize>() - state.debt
        }
    }

    fn take(mut fifo: &File) {
        assert_eq!(fifo.read(&mut [0]).unwrap(), 1);
    }

    fn give(mut fifo: &File) {
        fifo.write_all(b"x").unwrap();
    }

    /// Returns true when a token can be taken within the time.
    fn offered(fifo: &File, time: Duration) -> bool {
        let mut polled = [PollFd::new(fifo.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::try_from(time).unwrap()).unwrap() > 0
    }

    /// Four builds have far more to do than there are cores, and none of them runs dry.
    #[test]
    fn all_builds_together_run_no_more_than_there_are_tokens() {
        const TOKENS: usize = 5;
        let world = World::new(TOKENS);
        let (running, peak, done) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let work = || {
            peak.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(2));
            running.fetch_sub(1, Ordering::SeqCst);
            done.fetch_add(1, Ordering::SeqCst);
        };
        std::thread::scope(|scope| {
            for build in 0..4 {
                let (world, work) = (&world, &work);
                scope.spawn(move || {
                    let _token = world.token();
                    let (_served, fifo) = world.build(&build.to_string(), TOKENS - 1);
                    std::thread::scope(|jobs| {
                        for _ in 0..6 {
                            jobs.spawn(|| {
                                for _ in 0..20 {
                                    take(&fifo);
                                    work();
                                    give(&fifo);
                                }
                            });
                        }
                        // The one process that needs no further token.
                        for _ in 0..20 {
                            work();
                        }
                    });
                });
            }
        });
        assert_eq!(done.into_inner(), 4 * 7 * 20);
        assert_eq!(peak.into_inner(), TOKENS);
        assert_eq!(world.total(0), TOKENS);
        assert_eq!(world.pool.shared.lock().free, TOKENS);
    }

    #[test]
    fn a_single_build_gets_all_tokens_and_no_more() {
        let world = World::new(4);
        let _token = world.token();
        let (_served, fifo) = world.build("a", 10);
        for _ in 0..3 {
            take(&fifo);
        }
        assert!(!offered(&fifo, Duration::from_millis(100)));
        give(&fifo);
        assert!(offered(&fifo, LONG));
        let (_other, limited) = world.build("b", 1);
        take(&fifo);
        assert!(!offered(&limited, Duration::from_millis(100)), "all are in use");
    }

    /// A token that one build leaves unused goes to another that uses it.
    #[test]
    fn tokens_go_where_they_are_used() {
        let world = World::new(3);
        let _token = world.token();
        let (_idle, _unused) = world.build("idle", 2);
        let (_busy, fifo) = world.build("busy", 2);
        take(&fifo);
        take(&fifo);
        assert_eq!(world.total(1), 3);
    }

    /// A build cannot keep its tokens, nor make any: others start without them, and have them when
    /// it has ended.
    #[test]
    fn a_build_that_returns_nothing_blocks_no_other() {
        let world = World::new(3);
        let token = world.token();
        let (served, fifo) = world.build("hoarder", 2);
        take(&fifo);
        take(&fifo);
        let begin = Instant::now();
        let second = world.token();
        assert!(begin.elapsed() >= STALL_TIMEOUT, "it did not wait");
        let begin = Instant::now();
        let third = world.token();
        assert!(begin.elapsed() < STALL_TIMEOUT + Duration::from_secs(5));
        assert_eq!(world.pool.shared.lock().debt, 2);
        drop((served, token));
        assert_eq!(world.total(2), 3);
        assert_eq!(world.pool.shared.lock().free, 1);
        let (_served, fifo) = world.build("next", 2);
        take(&fifo);
        drop((second, third));
        assert_eq!(world.total(0), 3);
    }

    #[test]
    fn bytes_that_were_never_taken_are_no_tokens() {
        let world = World::new(3);
        let _tokens = (world.token(), world.token());
        let (_forger, mut forged) = world.build("forger", 2);
        take(&forged);
        let (_honest, fifo) = world.build("honest", 2);
        // Fills the FIFO, and keeps a writer waiting there.
        std::thread::spawn(move || while forged.write(&[b'?'; 1 << 10]).is_ok() {});
        // The broker may believe that the one token came back, and no other.
        if offered(&fifo, Duration::from_millis(300)) {
            take(&fifo);
        }
        assert!(!offered(&fifo, Duration::from_millis(300)));
        assert_eq!(world.total(2), 3);
    }

    #[test]
    fn a_build_that_was_cancelled_does_not_wait() {
        let world = World::new(1);
        let _token = world.token();
        let begin = Instant::now();
        let _other = world.pool.take(&AtomicBool::new(true));
        assert!(begin.elapsed() < STALL_TIMEOUT);
    }

    #[test]
    fn the_broker_ends_with_the_last_build() {
        let world = World::new(2);
        drop(world.build("a", 1));
        let begin = Instant::now();
        while world.pool.shared.lock().broker.is_some() {
            assert!(begin.elapsed() < LONG);
            std::thread::yield_now();
        }
        let (_served, fifo) = world.build("b", 1);
        take(&fifo);
        give(&fifo);
    }
}
