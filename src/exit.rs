//! Exit statuses of the command: the one table. `docs/src/commands.md` shows it to users.

use crate::interrupt;
use std::io::Write;

/// End of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Success,
    Error,
    Usage,
    BuildFailed,
    TimedOut,
    HashMismatch,
    NotDeterministic,
    Network,
    DiskFull,
    NoSuchOutput,
    WrongSystem,
    /// Ended by the signal of this number.
    Interrupted(i32),
}

impl Exit {
    /// Returns the exit status of the process.
    ///
    /// Those up to 111 mean the same as Nix's, which adds one bit for each kind of failure to 96.
    pub fn status(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::Error => 1,
            Exit::Usage => 2,
            Exit::BuildFailed => 100,
            Exit::TimedOut => 101,
            Exit::HashMismatch => 102,
            Exit::NotDeterministic => 104,
            Exit::Network => 112,
            Exit::DiskFull => 113,
            Exit::NoSuchOutput => 114,
            Exit::WrongSystem => 115,
            Exit::Interrupted(signal) => u8::try_from(128 + signal).expect("the numbers of signals are below 65"),
        }
    }

    /// Returns the end that an error of this code leads to.
    pub fn of_code(code: &str) -> Exit {
        match code {
            "usage" => Exit::Usage,
            "build::timed_out" => Exit::TimedOut,
            "build::hash_mismatch" => Exit::HashMismatch,
            "build::not_deterministic" => Exit::NotDeterministic,
            "build::network" => Exit::Network,
            "build::disk_full" | "store::out_of_space" => Exit::DiskFull,
            "build::no_such_output" => Exit::NoSuchOutput,
            "build::platform" => Exit::WrongSystem,
            code if code.starts_with("build::") => Exit::BuildFailed,
            _ => Exit::Error,
        }
    }
}

/// Ends the process with the status of the program that the user ran.
pub fn leave(status: u8) -> ! {
    let interrupted = interrupt::claim_report();
    // A reader that is gone needs no rest of the output.
    let _ = std::io::stdout().flush();
    let status = if interrupted { interrupt::exit().status() } else { status };
    signal_hook::low_level::exit(status.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::Signal;
    use std::collections::BTreeSet;

    /// The statuses on the page are those of the table, and the page names each code.
    #[test]
    fn the_page_has_each_status() {
        let page = include_str!("../docs/src/commands.md");
        let section = page.split("## Exit status\n").nth(1).unwrap().split("\n## ").next().unwrap();
        let written: BTreeSet<u8> =
            section.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok()).collect();
        let signals = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].map(|signal| Exit::Interrupted(signal as i32));
        let all = [
            Exit::Success,
            Exit::Error,
            Exit::Usage,
            Exit::BuildFailed,
            Exit::TimedOut,
            Exit::HashMismatch,
            Exit::NotDeterministic,
            Exit::Network,
            Exit::DiskFull,
            Exit::NoSuchOutput,
            Exit::WrongSystem,
        ];
        assert_eq!(written, all.into_iter().chain(signals).map(Exit::status).collect());
    }

    /// Each status of its own belongs to a code that the builder or the store can return.
    #[test]
    fn codes_that_decide_are_real() {
        let codes = || builder::BuildError::CODES.into_iter().chain(store::StoreError::CODES);
        for exit in [
            Exit::TimedOut,
            Exit::HashMismatch,
            Exit::NotDeterministic,
            Exit::Network,
            Exit::DiskFull,
            Exit::NoSuchOutput,
            Exit::WrongSystem,
        ] {
            assert!(codes().any(|code| Exit::of_code(code) == exit), "{exit:?}");
        }
    }
}
