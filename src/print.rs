//! What commands print: results to standard output, remarks to standard error.
//!
//! A reader that has seen enough, as `head` has, is no failure: the command has done its work, and ends as if all had been
//! read. Other errors of standard output are failures, and remarks that cannot be made are left out.

use std::fmt::Arguments;
use std::io::{ErrorKind, Read, Result as IoResult, Write, stderr, stdout};
use std::path::Path;

use crate::report::Failure;

/// Prints a line of the result.
macro_rules! say {
    ($($part:tt)*) => { $crate::print::line(format_args!($($part)*)) };
}

/// Prints a remark.
macro_rules! remark {
    ($($part:tt)*) => { $crate::print::remark_line(format_args!($($part)*)) };
}

pub(crate) use {remark, say};

pub fn line(text: Arguments<'_>) -> Result<(), Failure> {
    ended(writeln!(stdout(), "{text}")).map(drop)
}

pub fn remark_line(text: Arguments<'_>) {
    // There is nowhere left to tell of it.
    let _ = writeln!(stderr(), "{text}");
}

/// Prints bytes as they are.
pub fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = stdout();
    ended(out.write_all(bytes).and_then(|()| out.flush())).map(drop)
}

/// Prints all that `from` gives; `name` is what it is called in errors.
pub fn copy(mut from: impl Read, name: &str) -> Result<(), Failure> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(cause) if cause.kind() == ErrorKind::Interrupted => continue,
            Err(cause) => return Err(Failure::io("cannot read", Path::new(name), cause)),
        };
        if ended(stdout().write_all(&buffer[..count]))? {
            return Ok(());
        }
    }
}

/// Whether nobody reads any more.
fn ended(written: IoResult<()>) -> Result<bool, Failure> {
    match written {
        Ok(()) => Ok(false),
        Err(cause) if cause.kind() == ErrorKind::BrokenPipe => Ok(true),
        Err(cause) => Err(Failure::io("cannot write to", Path::new("standard output"), cause)),
    }
}
