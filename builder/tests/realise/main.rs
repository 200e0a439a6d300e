//! Whole builds in stores of their own: builds, cut-offs, refusals, and the reports of failures.
//!
//! Sandboxed builds run a shell of this machine, copied into the store with the libraries it needs,
//! since no package is available here.

mod common;

mod built_in;
mod executor;
mod failing;
mod hostile;
mod jobserver;
mod measure;
mod repair;
mod sandboxed;
mod soak;
#[cfg(target_arch = "x86_64")]
mod stops;
