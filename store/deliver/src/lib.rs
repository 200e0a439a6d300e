//! Delivery: puts trees of the store where they are used, and proves that they lean on nothing else.
//!
//! [`prefix`] installs a prefix with generations and rollback; [`audit`] finds what leads out of a prefix.

pub mod audit;
pub mod prefix;
