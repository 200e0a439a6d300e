//! System calls on files, in one place: directories by handle, the error of a failed call, free
//! space, permissions, and locks.
//!
//! Other crates work on trees that others may have written through [`Dir`], which follows no
//! link; [`remove_tree`] removes them.

pub mod dir;
pub mod error;
pub mod mode;
pub mod private;
pub mod public;
mod remove;
pub mod space;
pub mod sync;

pub use dir::Dir;
pub use error::{Context, ErrorPath, SysError, io_help, io_reason, is_disk_full};
pub use remove::remove_tree;
pub use sync::lock;
