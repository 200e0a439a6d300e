//! Output of commands: results to standard output, remarks to standard error.
//!
//! A reader that closes the pipe, such as `head`, is no failure: the command has done its work, and
//! ends as if everything had been read. Other errors of standard output are failures; errors of
//! standard error are ignored.
//!
//! Control characters from a build, an expression or a file name never reach a terminal: results
//! pass [`builder::terminal`] where standard output is one, remarks always, because the logs of a
//! CI are shown on terminals too.

use crate::exit::Exit;
use crate::progress::screen;
use crate::report::Failure;
use model::terminal::{VisibleBytes, in_line, screen_line, visible};
use std::fmt::Arguments;
use std::io::{BufRead, BufReader, ErrorKind, IsTerminal, Read, Result as IoResult, Write, stderr, stdout};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Prints a line of the result.
macro_rules! say {
    ($($part:tt)*) => { $crate::print::line(format_args!($($part)*)) };
}

/// Prints a remark.
macro_rules! remark {
    ($($part:tt)*) => { $crate::print::remark_line(format_args!($($part)*)) };
}

pub(crate) use remark;
pub(crate) use say;

/// Set once a part of the result was printed.
static BEGUN: AtomicBool = AtomicBool::new(false);

/// Set once a part of the result could not be printed.
static FAILED: AtomicBool = AtomicBool::new(false);

/// Returns whether standard output failed, which a failure reports.
pub fn has_failed() -> bool {
    FAILED.load(Ordering::Relaxed)
}

/// Returns whether a part of the result was printed, or is being printed.
pub fn has_begun() -> bool {
    BEGUN.load(Ordering::Relaxed)
}

/// Returns a path that is safe within a line.
pub fn path_in_line(path: &Path) -> String {
    in_line(&path.display().to_string()).into_owned()
}

/// Prints the help or the error of clap, and returns the exit status. With `is_plain` it has no
/// styles, and its escape sequences are made visible.
pub fn of_arguments(error: &clap::Error, is_plain: bool) -> Result<u8, Failure> {
    let text = error.render().ansi().to_string();
    let text = if is_plain { visible(&text).into_owned() } else { text };
    if error.use_stderr() {
        // Standard error is the last resort.
        let _ = write!(anstream::stderr(), "{text}");
    } else {
        BEGUN.store(true, Ordering::Relaxed);
        ended(write!(anstream::stdout(), "{text}").and_then(|()| stdout().flush()))?;
    }
    Ok(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage.status()))
}

pub fn line(text: Arguments<'_>) -> Result<(), Failure> {
    BEGUN.store(true, Ordering::Relaxed);
    let written =
        if is_screen() { writeln!(stdout(), "{}", visible(&text.to_string())) } else { writeln!(stdout(), "{text}") };
    ended(written).map(drop)
}

pub fn remark_line(text: Arguments<'_>) {
    screen::above(&format!("{}\n", visible(&text.to_string())));
}

/// Prints a remark for programs: byte for byte unless standard error is a terminal.
pub fn remark_for_programs(text: &str) {
    let text = if stderr().is_terminal() { visible(text) } else { text.into() };
    screen::above(&format!("{text}\n"));
}

/// Prints bytes; on a terminal, control characters are made visible.
pub fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    if !is_screen() {
        return raw(bytes);
    }
    let mut filter = VisibleBytes::default();
    let text = filter.push(bytes);
    raw(text.as_bytes()).and_then(|()| raw(filter.finish().as_bytes()))
}

/// Prints bytes unchanged, to a terminal too: for `--raw`.
pub fn raw(bytes: &[u8]) -> Result<(), Failure> {
    BEGUN.store(true, Ordering::Relaxed);
    let mut out = stdout();
    ended(out.write_all(bytes).and_then(|()| out.flush())).map(drop)
}

/// Prints a log: its bytes if `as_is` or if standard output is no terminal, else its lines as
/// [`screen_line`] shows them.
///
/// Errors call it `name`.
pub fn log(from: impl Read, name: &str, as_is: bool) -> Result<(), Failure> {
    if as_is || !is_screen() { copy(from, name) } else { copy_lines(from, name) }
}

fn copy(mut from: impl Read, name: &str) -> Result<(), Failure> {
    let mut buffer = vec![0; 64 << 10];
    BEGUN.store(true, Ordering::Relaxed);
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return ended(stdout().flush()).map(drop),
            Ok(count) => count,
            Err(cause) if cause.kind() == ErrorKind::Interrupted => continue,
            Err(cause) => return Err(Failure::io("cannot read", Path::new(name), cause)),
        };
        if ended(stdout().write_all(&buffer[..count]))? {
            return Ok(());
        }
    }
}

/// Longest line of a log; longer ones are shown as several.
const LINE_BYTES_MAX: u64 = 64 << 10;

fn copy_lines(from: impl Read, name: &str) -> Result<(), Failure> {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = from.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        if read.map_err(|cause| Failure::io("cannot read", Path::new(name), cause))? == 0 {
            return Ok(());
        }
        let text = screen_line(line.strip_suffix(b"\n").unwrap_or(&line));
        if ended(writeln!(stdout(), "{text}"))? {
            return Ok(());
        }
    }
}

/// Returns whether standard output is a terminal.
fn is_screen() -> bool {
    static SCREEN: OnceLock<bool> = OnceLock::new();
    *SCREEN.get_or_init(|| stdout().is_terminal())
}

/// Returns whether the reader has closed the pipe.
fn ended(written: IoResult<()>) -> Result<bool, Failure> {
    match written {
        Ok(()) => Ok(false),
        Err(cause) if cause.kind() == ErrorKind::BrokenPipe => Ok(true),
        Err(cause) => {
            FAILED.store(true, Ordering::Relaxed);
            Err(Failure::io("cannot write to", Path::new("standard output"), cause))
        }
    }
}
