//! The sandbox's messages about a build to the process that asked for it: JSON, one message a line.

use super::SandboxError;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One line of the report, in the order of the variants.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Message {
    /// The sandbox is ready and the builder is about to start.
    Ready {
        /// Level of Landlock in force, if any.
        landlock_abi: Option<i32>,
        /// Parts left out in relaxed mode.
        skipped: Vec<String>,
    },
    /// A step failed; nothing follows but [`Message::Usage`].
    Failed(SandboxError),
    /// The builder exited by itself.
    Exited {
        /// The exit status of the builder.
        code: i32,
        /// Largest resident set of the builder and the processes that it waited for, in bytes.
        max_rss_bytes: u64,
    },
    /// A signal ended the builder.
    Signalled {
        /// The signal's number.
        signal: i32,
        /// Largest resident set of the builder and the processes that it waited for, in bytes.
        max_rss_bytes: u64,
    },
    /// Everything inside is dead. This comes last, and always, unless the spawner is dead too.
    Usage {
        /// Processor time in user mode.
        user: Duration,
        /// Processor time in the kernel.
        system: Duration,
        /// Largest resident set of any process inside, in bytes.
        max_rss_bytes: u64,
    },
}

impl Message {
    /// Adds the message's line.
    pub(super) fn append_to(&self, lines: &mut Vec<u8>) {
        let start = lines.len();
        match serde_json::to_writer(&mut *lines, self) {
            Ok(()) => lines.push(b'\n'),
            // No part of a message fails to be written; half a line would spoil the others.
            Err(_) => lines.truncate(start),
        }
    }
}
