//! Delivery: installs trees of the store where they are used, and proves that they depend on
//! nothing else.
//!
//! [`prefix`] installs a prefix with generations and rollback; [`audit`] finds everything that
//! leads out of a prefix.

pub mod audit;
pub mod prefix;
