//! The promises of the sandbox, one a file: allowed calls work *and* forbidden calls fail.
//!
//! [`attacks`] has the attempts of hostile builds, [`promises`] the environment and the end of
//! every build, [`successive`] the traces that successive builds could leave to each other. The
//! root is made of this machine's `/usr`, so the scripts have a shell and perl. Where the tests run
//! as root, the one below runs all the others again as an ordinary user.

mod attacks;
mod promises;
mod successive;

mod relaxed;
mod scene;
mod support;

/// No promise depends on being root.
#[test]
fn as_an_ordinary_user() {
    test_support::ordinary::run_again(&[], &[("SANDBOX_RUN", &scene::child_exe())]);
}
