//! Memory limit and end of one evaluation.
//!
//! Each evaluator owns an [`Account`] and shares it with its worker threads. So a process can hold
//! several evaluations that have limits of their own: one that runs out of memory, or is
//! interrupted, ends alone.
//!
//! A thread allocates for one account at a time ([`enter`]); between evaluations, for none. The
//! region that the thread allocates from ([`super::heap`]) is charged to the account as a whole,
//! and its unused rest changes hands with the account. Process-wide are only the table of names
//! ([`crate::symbol`]), whose names are charged to the evaluation that first uses them, and the
//! list of accounts that [`interrupt`] ends.

use super::heap;
use super::thunk::Waiters;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// Bytes beyond the limit, for code that runs until the next call, where the evaluation ends with a
/// position.
const SLACK_BYTES: usize = 64 << 20;

/// Reasons to end, as bits of [`Account::ended`].
const FULL: u8 = 1;
const INTERRUPTED: u8 = 2;

/// The memory of one evaluation, and whether it has to end.
pub(crate) struct Account {
    reserved_bytes: AtomicUsize,
    limit_bytes: AtomicUsize,
    /// Threads of the evaluation that wait for one another.
    pub(super) waiters: Waiters,
    ended: Ended,
}

/// Reasons to end. Every call reads them, so they have a cache line without anything that is
/// written often.
#[repr(align(64))]
struct Ended(AtomicU8);

static INTERRUPTED_ALL: AtomicBool = AtomicBool::new(false);
/// Accounts of all evaluations, for [`interrupt`].
static ACCOUNTS: Mutex<Vec<Weak<Account>>> = Mutex::new(Vec::new());
const PROMISE: &str = "no thread panics while it holds the list of accounts";

thread_local! {
    /// Account that this thread allocates for.
    static CURRENT: RefCell<Option<Arc<Account>>> = const { RefCell::new(None) };
}

impl Account {
    /// Opens an account of at most `limit_bytes`.
    pub(crate) fn new(limit_bytes: Option<usize>) -> Arc<Account> {
        let mut accounts = ACCOUNTS.lock().expect(PROMISE);
        let ended = if INTERRUPTED_ALL.load(Ordering::Relaxed) { INTERRUPTED } else { 0 };
        let account = Arc::new(Account {
            reserved_bytes: AtomicUsize::new(0),
            limit_bytes: AtomicUsize::new(limit_bytes.unwrap_or(usize::MAX)),
            waiters: Waiters::default(),
            ended: Ended(AtomicU8::new(ended)),
        });
        accounts.retain(|account| account.strong_count() > 0);
        accounts.push(Arc::downgrade(&account));
        account
    }

    pub(crate) fn limit_bytes(&self) -> usize {
        self.limit_bytes.load(Ordering::Relaxed)
    }

    /// Returns true when `bytes` more are within the limit.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.reserved_bytes.load(Ordering::Relaxed).saturating_add(bytes) <= self.limit_bytes()
    }

    /// Returns true when the evaluation has to end: the limit was reached (values are never freed),
    /// or it was interrupted.
    #[inline(always)]
    pub(crate) fn is_ended(&self) -> bool {
        self.ended.0.load(Ordering::Relaxed) != 0
    }

    /// Returns true when the evaluation has to end because it was interrupted.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.ended.0.load(Ordering::Relaxed) & INTERRUPTED != 0
    }

    /// Ends the evaluation at its next call.
    pub(crate) fn interrupt(&self) {
        self.ended.0.fetch_or(INTERRUPTED, Ordering::Release);
        self.waiters.wake_all();
    }

    /// Allows evaluation again after [`Account::interrupt`]. Thunks that were being forced are
    /// suspended again.
    pub(crate) fn resume(&self) {
        self.ended.0.fetch_and(!INTERRUPTED, Ordering::Release);
    }

    /// Wakes the threads that wait for a thunk, so that they see that the evaluation has ended.
    pub(crate) fn wake_all(&self) {
        self.waiters.wake_all();
    }

    fn fill(&self) {
        self.ended.0.fetch_or(FULL, Ordering::Relaxed);
    }

    /// Charges `bytes` that are about to be allocated; returns false when there must not be so
    /// many. Beyond the limit the evaluation ends at its next call, and until then a region is
    /// granted while the slack lasts.
    fn reserve(&self, bytes: usize, is_region: bool) -> bool {
        let limit = self.limit_bytes();
        let reserved = self.reserved_bytes.load(Ordering::Relaxed).saturating_add(bytes);
        if reserved > limit {
            self.fill();
            if !is_region || reserved > limit.saturating_add(SLACK_BYTES) {
                return false;
            }
        }
        self.charge(bytes);
        true
    }

    /// Returns the charge for bytes that the system did not give; the limit is now what it has
    /// given.
    fn refused(&self, bytes: usize) {
        self.refund(bytes);
        self.limit_bytes.fetch_min(self.reserved_bytes.load(Ordering::Relaxed), Ordering::Relaxed);
        self.fill();
    }

    fn charge(&self, bytes: usize) {
        self.reserved_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn refund(&self, bytes: usize) {
        self.reserved_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Charges bytes to the account of this thread ([`Account::reserve`]).
pub(super) fn reserve(bytes: usize, is_region: bool) -> bool {
    CURRENT.with_borrow(|account| account.as_ref().is_none_or(|account| account.reserve(bytes, is_region)))
}

/// Returns true when `bytes` more are within the limit of this thread's account.
pub(super) fn has_room(bytes: usize) -> bool {
    CURRENT.with_borrow(|account| account.as_ref().is_none_or(|account| account.has_room(bytes)))
}

/// Notes that the system did not give the bytes of a successful [`reserve`].
pub(super) fn refused(bytes: usize) {
    CURRENT.with_borrow(|account| account.iter().for_each(|account| account.refused(bytes)));
}

/// Charges memory that becomes a value as it is.
pub(super) fn adopt(bytes: usize) {
    CURRENT.with_borrow(|account| {
        if let Some(account) = account {
            account.charge(bytes);
            if !account.has_room(0) {
                account.fill();
            }
        }
    });
}

/// Lets this thread allocate for an account until the guard is dropped.
pub(crate) fn enter(account: &Arc<Account>) -> Entered {
    Entered { previous: switch(Some(account.clone())), _not_send: PhantomData }
}

/// Guard of [`enter`].
pub(crate) struct Entered {
    previous: Option<Arc<Account>>,
    /// The account is that of a thread.
    _not_send: PhantomData<*const ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        switch(self.previous.take());
    }
}

/// Makes `next` the account of this thread, and charges it for the rest of the thread's region.
fn switch(next: Option<Arc<Account>>) -> Option<Arc<Account>> {
    let unused = heap::unused_bytes();
    if let Some(next) = &next {
        next.charge(unused);
    }
    let previous = CURRENT.replace(next);
    if let Some(previous) = &previous {
        previous.refund(unused);
    }
    previous
}

/// Ends every evaluation of the process at its next call, until [`resume`].
pub fn interrupt() {
    let accounts = ACCOUNTS.lock().expect(PROMISE);
    INTERRUPTED_ALL.store(true, Ordering::Relaxed);
    accounts.iter().filter_map(Weak::upgrade).for_each(|account| account.interrupt());
}

/// Allows evaluation again after [`interrupt`].
pub fn resume() {
    let accounts = ACCOUNTS.lock().expect(PROMISE);
    INTERRUPTED_ALL.store(false, Ordering::Relaxed);
    accounts.iter().filter_map(Weak::upgrade).for_each(|account| account.resume());
}

/// Ends one evaluation from another thread
/// ([`Evaluator::interrupter`](crate::Evaluator::interrupter)).
#[derive(Clone, Debug)]
pub struct Interrupter(Weak<Account>);

impl Interrupter {
    pub(crate) fn new(account: &Arc<Account>) -> Interrupter {
        Interrupter(Arc::downgrade(account))
    }

    /// Ends the evaluation at its next call, until [`Interrupter::resume`].
    pub fn interrupt(&self) {
        if let Some(account) = self.0.upgrade() {
            account.interrupt();
        }
    }

    /// Returns true while the evaluator exists.
    pub fn is_connected(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// Allows evaluation again after [`Interrupter::interrupt`].
    pub fn resume(&self) {
        if let Some(account) = self.0.upgrade() {
            account.resume();
        }
    }
}
