//! What the sandbox promises, one promise a test: what is allowed works *and* what is forbidden fails.
//!
//! The root is made of this machine's `/usr`, so the scripts have a shell and perl. Where the tests run as root, the
//! last one runs all the others again as an ordinary user.

mod attacks;
mod errors;
mod limits;
mod machine;
#[path = "../../../tests/support/ordinary.rs"]
mod ordinary;
mod outwards;
mod place;
mod promises;
mod resources;
mod roots;
mod successive;
