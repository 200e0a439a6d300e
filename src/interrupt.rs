//! Ctrl-C and SIGTERM stop builds and leave a clean store; a second one ends the process at once.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};

/// The exit status of a process that was interrupted twice.
const EXIT_INTERRUPTED: i32 = 130;

/// Sets `cancelled` when the process is asked to stop.
pub fn cancel_on_signals(cancelled: Arc<AtomicBool>) {
    for signal in [SIGINT, SIGTERM] {
        // First registered, first run: the second signal finds the flag set and ends the process. That a handler
        // cannot be installed only means that the signal ends the process at once.
        let _ = signal_hook::flag::register_conditional_shutdown(signal, EXIT_INTERRUPTED, cancelled.clone());
        let _ = signal_hook::flag::register(signal, cancelled.clone());
    }
}
