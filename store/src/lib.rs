//! The store: keeps trees and their records on this machine. [`LocalStore`] is the entry.
//!
//! Names, hashes, derivations and trees are values of the `model` crate.

pub mod archive;

mod db;
mod error;
mod local;
mod lock;
mod query;
mod read;
mod scratch;

mod add;
mod batch;
mod blob;
mod cas;
mod checkout;
mod directory_cache;
mod import;
mod register;
mod services;
mod sources;

mod gc;
mod rebuild;
mod verify;

#[cfg(test)]
mod tests;

pub use add::{SourceFilter, SourceKind, Text};
pub use batch::Run;
pub use checkout::BlobCheck;
pub use db::{ActionResult, BuildRecord, Durability, ValidPath};
pub use error::StoreError;
pub use gc::roots::Root;
pub use gc::{GcOptions, GcReport};
pub use import::{Bounds, Imported};
pub use local::{LocalStore, OpenOptions};
pub use lock::{CollectorGuard, Lock, LockHolder};
pub use os::SysError;
pub use scratch::ScratchPath;
pub use verify::{Damage, VerifyReport};
