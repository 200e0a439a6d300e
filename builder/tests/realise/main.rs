//! Whole builds in stores of their own: what is built, what is cut off, what is refused, and what a failure tells.
//!
//! Sandboxed builds run a shell of this machine, copied into the store with the libraries it needs, as no package is at
//! hand here.

mod common;

mod built_in;
mod failing;
mod hostile;
mod jobserver;
mod measure;
mod repair;
mod sandboxed;
mod soak;
#[cfg(target_arch = "x86_64")]
mod stops;
