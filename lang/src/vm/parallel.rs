//! Several threads over one evaluation.
//!
//! Helpers evaluate *ahead*: a thread that is about to evaluate many values in order offers them to
//! the helpers, takes part, and then visits them in order as if it were alone; most have a value
//! already. So the result and the reported error are those of one thread, with any schedule: an
//! error that a helper meets is dropped, the thunk is suspended again
//! ([`Claimed::restore`](crate::value::thunk::Claimed)), and the thread that visits the values in
//! order meets the error again.
//!
//! A thread that needs a thunk that another is forcing waits for it; a cycle through several
//! threads is found when the last one would begin to wait ([`crate::value::thunk`]).

use super::Evaluator;
use crate::value::{Value, View};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

const PROMISE: &str = "no thread panics while it holds the table of batches";

/// Extent to which values are evaluated ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ahead {
    /// Values are evaluated to head form.
    Head,
    /// Values are evaluated deeply.
    Deep,
    /// The part that JSON shows: all the way down, but only the path of a set with `outPath`.
    Json,
    /// Values are evaluated to head form, and a derivation's path as well.
    Derivation,
}

/// The helping threads, and the work for them.
pub(super) struct Pool {
    batches: Mutex<Vec<Arc<Batch>>>,
    wake: Condvar,
    /// Number of helpers without work, including those that have not started to run.
    idle: AtomicUsize,
    stop: AtomicBool,
}

struct Batch {
    values: Box<[Value]>,
    next: AtomicUsize,
    extent: Ahead,
}

impl Batch {
    fn take(&self) -> Option<Value> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        self.values.get(index).copied()
    }

    fn is_empty(&self) -> bool {
        self.next.load(Ordering::Relaxed) >= self.values.len()
    }
}

impl Pool {
    fn add(&self, batch: Arc<Batch>) {
        self.batches.lock().expect(PROMISE).push(batch);
        self.wake.notify_all();
    }

    fn remove(&self, batch: &Arc<Batch>) {
        self.batches.lock().expect(PROMISE).retain(|each| !Arc::ptr_eq(each, batch));
    }

    /// Returns the newest batch that is not empty; waits for one. `None` when the evaluation is
    /// over.
    fn next(&self) -> Option<Arc<Batch>> {
        let mut batches = self.batches.lock().expect(PROMISE);
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            batches.retain(|batch| !batch.is_empty());
            if let Some(batch) = batches.last() {
                return Some(batch.clone());
            }
            batches = self.wake.wait(batches).expect(PROMISE);
        }
    }
}

/// Stops the helpers when the evaluator that started them is dropped.
pub(super) struct Leader(pub Arc<Pool>);

impl Drop for Leader {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
        let _batches = self.0.batches.lock().expect(PROMISE);
        self.0.wake.notify_all();
    }
}

impl Evaluator {
    /// Evaluates with `jobs` threads from now on, including this one. With one job it does nothing.
    ///
    /// # Errors
    /// When the system cannot start the threads.
    pub fn set_jobs(&mut self, jobs: usize) -> std::io::Result<()> {
        if jobs < 2 || self.pool.is_some() {
            return Ok(());
        }
        let pool = Arc::new(Pool {
            batches: Mutex::default(),
            wake: Condvar::new(),
            idle: AtomicUsize::new(jobs - 1),
            stop: AtomicBool::new(false),
        });
        for _ in 1..jobs {
            let mut helper = self.worker();
            helper.pool = Some(pool.clone());
            std::thread::Builder::new().name("evaluate".to_owned()).spawn(move || helper.help())?;
        }
        self.leader = Some(Leader(pool.clone()));
        self.pool = Some(pool);
        Ok(())
    }

    fn help(mut self) {
        let Some(pool) = self.pool.clone() else { return };
        // Running out of memory ends the helper. The thread that offered the work meets that too,
        // and reports it.
        let _ = self.on_large_stack(|ev| {
            while let Some(batch) = pool.next() {
                pool.idle.fetch_sub(1, Ordering::Relaxed);
                while !pool.stop.load(Ordering::Relaxed)
                    && let Some(value) = batch.take()
                {
                    // The thread that visits the values in order will meet the same error.
                    let _ = ev.evaluate_ahead(value, batch.extent);
                }
                pool.idle.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
    }

    /// Evaluates values that are all about to be needed, together with the helpers if there are
    /// any. Returns true when each of them is evaluated, or being evaluated.
    pub fn ahead(&mut self, values: impl Iterator<Item = Value>, extent: Ahead) -> bool {
        let Some(pool) = &self.pool else { return false };
        if pool.idle.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let pool = pool.clone();
        let values: Box<[Value]> = values.filter(|&value| is_work(value, extent)).collect();
        if values.len() < 2 {
            return false;
        }
        let batch = Arc::new(Batch { values, next: AtomicUsize::new(0), extent });
        pool.add(batch.clone());
        let mut fine = true;
        while let Some(value) = batch.take() {
            if self.evaluate_ahead(value, extent).is_err() {
                // In order, this may end the evaluation, so the other values may not be needed.
                fine = false;
                break;
            }
        }
        pool.remove(&batch);
        fine
    }

    fn evaluate_ahead(&mut self, value: Value, extent: Ahead) -> crate::error::Result<()> {
        self.fallible(|ev| match extent {
            Ahead::Head => ev.force(value).map(drop),
            Ahead::Deep => ev.force_deep(value),
            Ahead::Json => ev.force_for_json(value),
            Ahead::Derivation => {
                let value = ev.force(value)?;
                if ev.is_derivation(value)?
                    && let Some(path) = value.as_attrs().and_then(|set| set.get(ev.shared.names.drv_path))
                {
                    ev.force(path)?;
                }
                Ok(())
            }
        })
    }
}

impl Evaluator {
    fn force_for_json(&mut self, value: Value) -> crate::error::Result<()> {
        let value = self.force(value)?;
        match value.view() {
            View::List(list) => self.nested(|ev| list.values().iter().try_for_each(|&value| ev.force_for_json(value))),
            View::Attrs(set) => {
                let names = &self.shared.names;
                if set.contains(names.to_string) {
                    // The result of the function is not kept, so there is nothing to gain.
                    return Ok(());
                }
                match set.get(names.out_path) {
                    Some(path) => self.nested(|ev| ev.force_for_json(path)),
                    None => self.nested(|ev| set.iter().try_for_each(|attr| ev.force_for_json(attr.value))),
                }
            }
            _ => Ok(()),
        }
    }
}

/// Returns true when a value may have parts that are not evaluated.
fn is_work(value: Value, extent: Ahead) -> bool {
    match value.view() {
        View::Thunk(thunk) => match thunk.done() {
            Some(value) => extent != Ahead::Head && is_work(value, extent),
            None => true,
        },
        View::Attrs(_) => extent != Ahead::Head,
        View::List(_) => matches!(extent, Ahead::Deep | Ahead::Json),
        _ => false,
    }
}
