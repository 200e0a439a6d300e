//! What the sandbox promises, one promise a file: what is allowed works *and* what is forbidden fails.
//!
//! [`attacks`] holds what builds with bad intentions try, [`promises`] what every build finds and how it ends, [`successive`]
//! what builds that follow one another could leave to each other. The root is made of this machine's `/usr`, so the scripts
//! have a shell and perl. Where the tests run as root, the one below runs all the others again as an ordinary user.

mod attacks;
mod promises;
mod successive;

mod place;
mod relaxed;
mod support;

/// Nothing of it is owed to being root.
#[test]
fn as_an_ordinary_user() {
    test_support::ordinary::run_again(&[], &[("SANDBOX_RUN", &place::child_exe())]);
}
