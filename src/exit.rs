//! Exit statuses of the command. `docs/src/commands.md` has them as a table.

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
    /// Ended by the signal of this number.
    Interrupted(i32),
}

impl Exit {
    /// Returns the exit status of the process.
    pub fn status(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::Error => 1,
            Exit::Usage => 2,
            Exit::BuildFailed => 100,
            Exit::TimedOut => 101,
            Exit::HashMismatch => 102,
            Exit::NotDeterministic => 104,
            Exit::Interrupted(signal) => u8::try_from(128 + signal).expect("the numbers of signals are below 65"),
        }
    }
}
