//! The tokens for the cores of the machine, and their use by the builds that ask for them (`__jobserver`).
//!
//! There are as many tokens as processes are to run at a time. Each build that runs has one; what it may run beyond that
//! takes a token each, by the protocol of GNU make, which ninja and cargo speak as well: a byte read from a FIFO is a token
//! taken, a byte written to it is one given back.
//!
//! ```text
//!   Pool (tokens) ──broker──▶ FIFO of build 1 ◀─▶ make, make, make
//!                 ──broker──▶ FIFO of build 2 ◀─▶ ninja
//! ```
//!
//! A FIFO that two builds had would be a way from one to the other, and what one took of it and did not return would be lost
//! to all. So each build has its own, and the *broker*, a thread that lives as long as there is such a build, moves tokens
//! between them: in each FIFO there is at most one that is not in use, and when that has been taken another is put there. A
//! token that is returned beyond that one comes back to the pool, as do all that a build has when it ends. Bytes are never
//! passed on: what is read is counted and dropped.
//!
//! A FIFO that is empty does not tell whether somebody waits for it. So where tokens are few, a build that leaves its spare
//! one unused loses it to the others, and is asked less and less often.
//!
//! Invariant: tokens in the pool, of builds and in FIFOs are together as many as there were; or, when a build had to start
//! without one (see [`PATIENCE`]), as many more as `debt` says.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor},
        stat::Mode,
    },
    unistd::mkfifo,
};

/// How long a token lies in a FIFO before another build that may need it gets it.
const IDLE: Duration = Duration::from_millis(20);
/// The longest time after which a build that left tokens unused is offered one again.
const OFFER_MAX: Duration = Duration::from_secs(1);
/// How long a build waits for a token to start with while no token is taken or returned by anybody. Then somebody sits on
/// them, and what does not give back must not hold up the others.
const PATIENCE: Duration = if cfg!(test) { Duration::from_millis(500) } else { Duration::from_secs(10) };
/// How often the cancel flag is looked at, and FIFOs where the kernel does not tell about them.
const POLL: Duration = Duration::from_millis(50);
/// The least time between two looks of the broker, so that a build cannot keep it busy.
const PACE: Duration = Duration::from_micros(500);
/// What a token looks like. Programs give back the byte that they took, or any other.
const TOKEN: &[u8] = b"+";

/// All tokens.
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    free: usize,
    /// Builds that started without a token.
    debt: usize,
    /// Builds that wait for a token to start with.
    waiting: usize,
    clients: BTreeMap<u64, Client>,
    next_client: u64,
    /// When a build last took or returned a token.
    moved: Option<Instant>,
    /// What tells of reads and writes, while there is a broker.
    broker: Option<Arc<Watcher>>,
}

/// Where the kernel has no notification left for this user, FIFOs are looked at every [`POLL`].
struct Watcher(Option<Inotify>);

/// A build's FIFO.
struct Client {
    fifo: File,
    watch: Option<WatchDescriptor>,
    /// The most tokens it may have.
    max: usize,
    /// Tokens it has, the one in the FIFO included.
    given: usize,
    /// Since when a token lies in the FIFO.
    spare: Option<Instant>,
    /// When it was last given one.
    fed: Option<Instant>,
    /// Whether it was this side that last read, which is told of as if it was the build.
    drained: bool,
    /// How many tokens were taken back from it in a row, as it left them unused.
    unused: u32,
    /// While others need tokens it is given none before this.
    not_before: Option<Instant>,
}

/// The token that a build has as long as it runs.
pub(crate) struct Seat<'a> {
    pool: &'a Pool,
}

/// A build's use of further tokens; dropping it takes all of them back.
pub(crate) struct Jobs<'a> {
    pool: &'a Pool,
    id: u64,
}

impl Pool {
    /// A pool of `tokens`, at least one.
    pub fn new(tokens: usize) -> Pool {
        let state = State { free: tokens.max(1), ..State::default() };
        Pool { shared: Arc::new(Shared { state: Mutex::new(state), freed: Condvar::new() }) }
    }

    /// Takes the token for a build to start with, waiting for one. Without one it is started when no token was moved for
    /// [`PATIENCE`], and when `cancelled`, which is for the build to notice.
    pub fn take_seat(&self, cancelled: &AtomicBool) -> Seat<'_> {
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
            if since.elapsed() >= PATIENCE || cancelled.load(Ordering::Relaxed) {
                state.debt += 1;
                break;
            }
            state = self.shared.freed.wait_timeout(state, POLL).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.waiting -= 1;
        Seat { pool: self }
    }

    /// Makes a FIFO at `path`, which must be out of everybody else's reach, and serves at most `max` tokens there.
    ///
    /// # Errors
    /// When the FIFO cannot be made, or the thread that serves it not be started.
    pub fn serve(&self, path: &Path, max: usize) -> io::Result<Jobs<'_>> {
        mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        // Open in both ways, so that neither side ever sees its end; and a file of its own, so that what a build does to
        // its end, such as making it wait, is not done to this one.
        let fifo = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        let mut state = self.shared.lock();
        let watcher = match &state.broker {
            Some(watcher) => Arc::clone(watcher),
            None => {
                let flags = InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC;
                let watcher = Arc::new(Watcher(Inotify::init(flags).ok()));
                let (shared, events) = (Arc::clone(&self.shared), Arc::clone(&watcher));
                std::thread::Builder::new().name("jobserver".into()).spawn(move || shared.broke(&events))?;
                state.broker = Some(Arc::clone(&watcher));
                watcher
            }
        };
        let events = AddWatchFlags::IN_ACCESS | AddWatchFlags::IN_MODIFY;
        let watch = watcher.0.as_ref().and_then(|inotify| inotify.add_watch(path, events).ok());
        let id = state.next_client;
        state.next_client += 1;
        let client =
            Client { fifo, watch, max, given: 0, spare: None, fed: None, drained: false, unused: 0, not_before: None };
        state.clients.insert(id, client);
        state.balance(Instant::now());
        Ok(Jobs { pool: self, id })
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.shared.lock();
        // One that started without a token has either been made good by one that came back, or its debt ends with it.
        state.put_back(1);
        state.balance(Instant::now());
        self.pool.shared.freed.notify_all();
    }
}

impl Drop for Jobs<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.shared.lock();
        if let Some(client) = state.clients.remove(&self.id) {
            // This wakes the broker, too, who ends when there is nobody left.
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

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The broker's thread.
    fn broke(&self, watcher: &Watcher) {
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
            std::thread::sleep(PACE);
        }
    }
}

impl Watcher {
    /// Returns when a FIFO has been read or written, or a client is gone, or the time is over; and which were read.
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

impl State {
    /// Takes `count` tokens into the pool.
    fn put_back(&mut self, count: usize) {
        let paid = count.min(self.debt);
        self.debt -= paid;
        self.free += count - paid;
    }

    /// Looks at all FIFOs and moves tokens to where they are needed. Returns after which time to look again though nothing
    /// happens.
    fn balance(&mut self, now: Instant) -> Option<Duration> {
        let mut returned = 0;
        for client in self.clients.values_mut() {
            let (back, moved) = client.look(now);
            returned += back;
            if moved {
                self.moved = Some(now);
            }
        }
        self.put_back(returned);
        // Builds that are to start come first, and what is owed to the pool.
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
            let Some(client) = wanting.min_by_key(|client| (!client.may_ask(now), client.fed)) else { break };
            if client.feed(now) {
                self.free -= 1;
            }
        }
        // Somebody may need what lies unused with somebody else.
        let asking = self.clients.values().filter(|client| client.wants()).map(|client| client.not_before).min();
        let unused = self.clients.values().filter_map(|client| client.spare).min();
        let revocable = asking.zip(unused).map(|(asking, since)| asking.unwrap_or(now).max(since + IDLE));
        let unwatched = self.clients.values().any(|client| client.watch.is_none()).then(|| now + POLL);
        let next = revocable.into_iter().chain(unwatched).min();
        next.map(|next| next.saturating_duration_since(now))
    }

    /// Takes spare tokens that nobody took for a while from their FIFOs when other builds may need them.
    fn revoke_unused(&mut self, now: Instant) {
        let hungry = self.clients.values().filter(|client| client.wants() && client.may_ask(now)).count();
        let mut missing = (hungry + self.waiting).saturating_sub(self.free);
        let mut returned = 0;
        for client in self.clients.values_mut() {
            if missing == 0 {
                break;
            }
            if client.spare.is_some_and(|since| now.saturating_duration_since(since) >= IDLE) {
                let back = client.take_back();
                let pause = IDLE.saturating_mul(1 << client.unused.min(10)).min(OFFER_MAX);
                client.unused = client.unused.saturating_add(1);
                client.not_before = Some(now + pause);
                missing -= back.min(missing);
                returned += back;
            }
        }
        self.put_back(returned);
    }
}

impl Client {
    /// Finds out what the build did. Returns how many tokens came back, and whether any was taken or returned.
    fn look(&mut self, now: Instant) -> (usize, bool) {
        let there = rustix::io::ioctl_fionread(&self.fifo).unwrap_or(0);
        match (self.spare, there) {
            (None, 0) | (Some(_), 1) => (0, false),
            (Some(_), 0) => {
                self.spare = None;
                self.unused = 0;
                self.not_before = None;
                (0, true)
            }
            (None, 1) => {
                // A token that came back to an empty FIFO stays there. One that was never given is not one.
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

    /// Somebody read from the FIFO. If there is a token nevertheless, it is one that is in use and was just returned.
    fn was_read(&mut self, now: Instant) {
        if !std::mem::take(&mut self.drained) && self.spare.is_some() {
            self.spare = Some(now);
            self.unused = 0;
        }
    }

    /// Empties the FIFO; returns how many tokens that were.
    fn take_back(&mut self) -> usize {
        // Whoever writes more than was taken gets no more for it.
        let back = self.drain().min(self.given);
        self.given -= back;
        self.spare = None;
        back
    }

    fn drain(&mut self) -> usize {
        let mut bytes = [0; 4096];
        self.drained = true;
        // Once: a build that writes without end must not keep the broker here.
        self.fifo.read(&mut bytes).unwrap_or(0)
    }

    /// Whether there is nothing in its FIFO, so that it may be waiting.
    fn wants(&self) -> bool {
        self.spare.is_none() && self.given < self.max
    }

    fn may_ask(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|time| now >= time)
    }

    /// Puts a token into the FIFO; false when there is no room, as a build has filled it.
    fn feed(&mut self, now: Instant) -> bool {
        if self.fifo.write(TOKEN).is_err() {
            self.max = self.given;
            return false;
        }
        self.given += 1;
        self.spare = Some(now);
        self.fed = Some(now);
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
        pool: Pool,
    }

    impl World {
        fn new(tokens: usize) -> World {
            World { directory: tempfile::tempdir().unwrap(), pool: Pool::new(tokens) }
        }

        /// A build with a FIFO of its own, opened as its programs would.
        fn build(&self, name: &str, max: usize) -> (Jobs<'_>, File) {
            let path = self.directory.path().join(name);
            let jobs = self.pool.serve(&path, max).unwrap();
            (jobs, OpenOptions::new().read(true).write(true).open(path).unwrap())
        }

        fn seat(&self) -> Seat<'_> {
            self.pool.take_seat(&AtomicBool::new(false))
        }

        /// Tokens wherever they are, less those that are owed.
        fn total(&self, seats: usize) -> usize {
            let state = self.pool.shared.lock();
            state.free + seats + state.clients.values().map(|client| client.given).sum::<usize>() - state.debt
        }
    }

    fn take(mut fifo: &File) {
        assert_eq!(fifo.read(&mut [0]).unwrap(), 1);
    }

    fn give(mut fifo: &File) {
        fifo.write_all(b"x").unwrap();
    }

    /// Whether there is something to take within the time.
    fn offered(fifo: &File, time: Duration) -> bool {
        let mut polled = [PollFd::new(fifo.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::try_from(time).unwrap()).unwrap() > 0
    }

    /// Four builds, each of which has far more to do than there are cores, and none runs dry.
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
                    let _seat = world.seat();
                    let (_jobs, fifo) = world.build(&build.to_string(), TOKENS - 1);
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
                        // The one job for which no token is needed.
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
    fn a_build_alone_gets_all_of_them_and_no_more() {
        let world = World::new(4);
        let _seat = world.seat();
        let (_jobs, fifo) = world.build("a", 10);
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

    /// What lies unused with one build goes to another that has use for it.
    #[test]
    fn tokens_go_where_they_are_used() {
        let world = World::new(3);
        let _seat = world.seat();
        let (_idle, _unused) = world.build("idle", 2);
        let (_busy, fifo) = world.build("busy", 2);
        take(&fifo);
        take(&fifo);
        assert_eq!(world.total(1), 3);
    }

    /// A build cannot keep its tokens, nor make any: others start without them, and have them when it is gone.
    #[test]
    fn a_build_that_returns_nothing_holds_nobody_up() {
        let world = World::new(3);
        let seat = world.seat();
        let (jobs, fifo) = world.build("hoarder", 2);
        take(&fifo);
        take(&fifo);
        let begin = Instant::now();
        let second = world.seat();
        assert!(begin.elapsed() >= PATIENCE, "it had to wait");
        let begin = Instant::now();
        let third = world.seat();
        assert!(begin.elapsed() < PATIENCE + Duration::from_secs(5));
        assert_eq!(world.pool.shared.lock().debt, 2);
        drop((jobs, seat));
        assert_eq!(world.total(2), 3);
        assert_eq!(world.pool.shared.lock().free, 1);
        let (_jobs, fifo) = world.build("next", 2);
        take(&fifo);
        drop((second, third));
        assert_eq!(world.total(0), 3);
    }

    #[test]
    fn bytes_that_nobody_took_are_no_tokens() {
        let world = World::new(3);
        let _seats = (world.seat(), world.seat());
        let (_liar, mut lies) = world.build("liar", 2);
        take(&lies);
        let (_honest, fifo) = world.build("honest", 2);
        // Fills the FIFO, and leaves a writer waiting there.
        std::thread::spawn(move || while lies.write(&[b'?'; 1 << 10]).is_ok() {});
        // The one token that there is may be thought returned, and no other can.
        if offered(&fifo, Duration::from_millis(300)) {
            take(&fifo);
        }
        assert!(!offered(&fifo, Duration::from_millis(300)));
        assert_eq!(world.total(2), 3);
    }

    #[test]
    fn a_build_that_was_cancelled_does_not_wait() {
        let world = World::new(1);
        let _seat = world.seat();
        let begin = Instant::now();
        let _other = world.pool.take_seat(&AtomicBool::new(true));
        assert!(begin.elapsed() < PATIENCE);
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
        let (_jobs, fifo) = world.build("b", 1);
        take(&fifo);
        give(&fifo);
    }
}
