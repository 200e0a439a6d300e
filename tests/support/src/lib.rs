//! Support for the tests of several crates: damaged bytes, failing system calls, another user, an
//! HTTP server, random programs and a host of the language.

#[cfg(feature = "lang")]
pub mod files;
pub mod mutate;
pub mod ordinary;
pub mod programs;
pub mod server;
pub mod temporary;
#[cfg(target_arch = "x86_64")]
pub mod tracer;

pub use temporary::Temporary;
