//! The log of one build: compressed while it is written, and searched for lines that a failure
//! report quotes.
//!
//! A log is `<root>/log/<hash>-<name>.drv.zst`, one zstd stream. While the build runs it has the
//! suffix `.part` and is locked, and it gets its final name at the end, also of a failed build. Printed
//! text is in the file half a second later, so that other processes can read along. The log
//! of a build that ends within that time is kept in memory. A short log is registered with the
//! outputs when the build succeeds, instead of becoming a file: making a file takes longer than many
//! builds. Where there are both, the file is the later one.
//!
//! Bytes reach the disk as they were printed. Lines for events and reports lose carriage-return
//! progress and control characters, since they are shown on terminals.

use crate::error::{BuildError, LogSummary, io_error};
use model::StorePath;
use model::terminal::screen_line;
use os::{lock, public};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};
use store::{LocalStore, StoreError};

/// Number of last lines that a failure report quotes.
pub const TAIL_LINES: usize = 25;
/// Longer lines are cut in events and reports (never in the log itself).
const LINE_BYTES_MAX: usize = 4096;

/// A line of a log, as the progress display takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// `@phase NAME`: the builder announces its next phase.
    Phase(String),
    Text(String),
}

/// Logs up to this size are compressed in one go.
const SHORT_BYTES_MAX: usize = 32 << 10;
const LEVEL: i32 = 1;

/// The longest time for which printed bytes are not in the file.
const FLUSH_INTERVAL: Duration = Duration::from_millis(400);

/// Writes one log.
pub struct LogWriter {
    /// The log while it is short; empty after that.
    short: Vec<u8>,
    is_short: bool,
    encoder: Option<zstd::stream::write::Encoder<'static, File>>,
    /// The time since which there are bytes that are not in the file.
    unflushed: Option<Instant>,
    part: PathBuf,
    path: PathBuf,
    line: Vec<u8>,
    line_cut: bool,
    summary: LogSummary,
    tail: VecDeque<String>,
}

impl LogWriter {
    /// Starts the log of the derivation whose file is called `drv_file_name`.
    pub fn create(root: &Path, drv_file_name: &str) -> Result<LogWriter, BuildError> {
        let directory = root.join("log");
        let path = directory.join(format!("{drv_file_name}.zst"));
        let part = directory.join(format!("{drv_file_name}.{}.part", std::process::id()));
        Ok(LogWriter {
            short: Vec::new(),
            is_short: true,
            encoder: None,
            unflushed: None,
            part,
            path,
            line: Vec::new(),
            line_cut: false,
            summary: LogSummary::default(),
            tail: VecDeque::with_capacity(TAIL_LINES),
        })
    }

    /// Adds what the builder printed; complete lines are passed to `on_line`.
    pub fn write(&mut self, bytes: &[u8], on_line: &mut dyn FnMut(Line)) -> Result<(), BuildError> {
        self.keep(bytes)?;
        self.summary.bytes += bytes.len() as u64;
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            self.extend_line(&rest[..end]);
            self.end_line(on_line);
            rest = &rest[end + 1..];
        }
        self.extend_line(rest);
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), BuildError> {
        if !bytes.is_empty() {
            self.unflushed.get_or_insert_with(Instant::now);
        }
        if self.encoder.is_none() && self.short.len() + bytes.len() > SHORT_BYTES_MAX {
            self.begin_file()?;
        }
        if let Some(encoder) = &mut self.encoder {
            encoder.write_all(bytes).map_err(|e| io_error("write", &self.part, e))?;
        }
        self.is_short &= self.short.len() + bytes.len() <= SHORT_BYTES_MAX;
        if self.is_short {
            self.short.extend_from_slice(bytes);
        } else {
            self.short = Vec::new();
        }
        if self.unflushed.is_some_and(|since| since.elapsed() >= FLUSH_INTERVAL) {
            self.flush()?;
        }
        Ok(())
    }

    /// Opens the file, and writes the log so far.
    fn begin_file(&mut self) -> Result<(), BuildError> {
        make_parent(&self.part)?;
        let file = public::create_file(&self.part).map_err(|e| io_error("open", &self.part, e))?;
        // Readers see by it that the build is running.
        let _ = file.try_lock();
        let encoder = zstd::stream::write::Encoder::new(file, LEVEL);
        let encoder = self.encoder.insert(encoder.map_err(|e| io_error("zstd", &self.part, e))?);
        encoder.write_all(&self.short).map_err(|e| io_error("write", &self.part, e))
    }

    /// Makes everything that was printed so far readable for other processes.
    fn flush(&mut self) -> Result<(), BuildError> {
        self.unflushed = None;
        if self.encoder.is_none() {
            self.begin_file()?;
        }
        match &mut self.encoder {
            Some(encoder) => encoder.flush().map_err(|e| io_error("write", &self.part, e)),
            None => Ok(()),
        }
    }

    /// Ends the stream. A log that is a file gets its final name; the caller decides about a short
    /// one.
    pub fn finish(mut self, on_line: &mut dyn FnMut(Line)) -> Result<FinishedLog, BuildError> {
        if !self.line.is_empty() {
            self.end_line(on_line);
        }
        let file = match self.encoder {
            Some(encoder) => Some(encoder.finish().map_err(|e| io_error("write", &self.part, e))?),
            None => None,
        };
        let short = match self.is_short {
            false => {
                std::fs::rename(&self.part, &self.path).map_err(|e| io_error("rename", &self.part, e))?;
                None
            }
            true => {
                if file.is_some() {
                    // Those who follow it have it open.
                    std::fs::remove_file(&self.part).map_err(|e| io_error("unlink", &self.part, e))?;
                }
                Some(compress(&self.short).map_err(|e| io_error("zstd", &self.part, e))?)
            }
        };
        // Releases the lock, after which a reader at the end of the file has read all of it.
        drop(file);
        self.summary.path = self.path;
        self.summary.tail = self.tail.into();
        Ok(FinishedLog { summary: self.summary, short, part: self.part })
    }

    fn extend_line(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES_MAX.saturating_sub(self.line.len());
        self.line_cut |= bytes.len() > room;
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self, on_line: &mut dyn FnMut(Line)) {
        let mut text = screen_line(&self.line);
        if std::mem::take(&mut self.line_cut) {
            text.push('…');
        }
        self.line.clear();
        if let Some(phase) = text.strip_prefix("@phase ") {
            let phase = phase.trim().to_owned();
            self.summary.phase = Some(phase.clone());
            on_line(Line::Phase(phase));
            return;
        }
        let traced = text.trim_start_matches('+');
        if traced.len() < text.len() && traced.starts_with(' ') {
            self.summary.command = Some(traced.trim_start().to_owned());
        } else if self.summary.first_error.is_none() && reads_like_error(&text) {
            self.summary.first_error = Some(text.clone());
        }
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(text.clone());
        on_line(Line::Text(text));
    }
}

/// Compresses a short log. The compressor's memory is reused for the next.
fn compress(log: &[u8]) -> std::io::Result<Vec<u8>> {
    static COMPRESSOR: Mutex<Option<zstd::bulk::Compressor<'static>>> = Mutex::new(None);
    let mut compressor = lock(&COMPRESSOR);
    let made = match compressor.take() {
        Some(made) => made,
        None => zstd::bulk::Compressor::new(LEVEL)?,
    };
    compressor.insert(made).compress(log)
}

fn make_parent(path: &Path) -> Result<(), BuildError> {
    let parent = path.parent().unwrap_or(path);
    Ok(public::make_directories(parent).map_err(StoreError::from)?)
}

/// A log that is complete.
#[derive(Debug)]
pub struct FinishedLog {
    pub summary: LogSummary,
    /// The compressed log while it is not a file.
    pub short: Option<Vec<u8>>,
    part: PathBuf,
}

impl FinishedLog {
    /// Makes a short log a file too, as those of builds are that failed.
    pub fn write(&self) -> Result<(), BuildError> {
        let Some(frame) = &self.short else { return Ok(()) };
        make_parent(&self.part)?;
        public::write_file(&self.part, frame).map_err(|e| io_error("write", &self.part, e))?;
        std::fs::rename(&self.part, &self.summary.path).map_err(|e| io_error("rename", &self.part, e))
    }

    /// Makes a short log the latest: the file of an earlier one is removed.
    pub fn supersede(&self) -> Result<(), BuildError> {
        match self.short.as_ref().map(|_| std::fs::remove_file(&self.summary.path)) {
            Some(Err(e)) if e.kind() != std::io::ErrorKind::NotFound => Err(io_error("unlink", &self.summary.path, e)),
            _ => Ok(()),
        }
    }
}

/// Opens the log of a derivation for reading; `None` when it was never built here.
///
/// # Errors
/// When the store or the file cannot be read. Damage shows while reading.
pub fn open_log(store: &LocalStore, drv: &StorePath) -> Result<Option<impl Read + use<>>, BuildError> {
    let path = store.log_dir().join(format!("{drv}.zst"));
    let compressed: Box<dyn Read> = match File::open(&path) {
        Ok(file) => Box::new(file),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => match store.short_log(drv)? {
            Some(frame) => Box::new(std::io::Cursor::new(frame)),
            None => return Ok(None),
        },
        Err(e) => return Err(io_error("open", &path, e)),
    };
    zstd::stream::read::Decoder::new(compressed).map(Some).map_err(|e| io_error("zstd", &path, e))
}

/// The log of a build that has not ended, or whose process was killed.
pub struct UnfinishedLog {
    /// Set while the build runs.
    pub is_running: bool,
    decoder: zstd::stream::read::Decoder<'static, BufReader<GrowingFile>>,
}

/// Opens the log of the running build of a derivation, of this process or another; `None` when
/// there is none. With `follow`, reading waits for more until the build ends; otherwise it ends
/// with the lines that are there.
///
/// A build that printed something within the last half second may have no log yet.
///
/// # Errors
/// When the directory of logs or the file cannot be read.
pub fn open_unfinished_log(
    store: &LocalStore,
    drv: &StorePath,
    follow: bool,
) -> Result<Option<UnfinishedLog>, BuildError> {
    let directory = store.log_dir();
    let entries = match std::fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io_error("readdir", &directory, e)),
    };
    let prefix = format!("{drv}.");
    let mut latest: Option<(bool, SystemTime, File)> = None;
    for entry in entries {
        let entry = entry.map_err(|e| io_error("readdir", &directory, e))?;
        let is_it = entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix) && name.ends_with(".part"));
        // A build that ends renames its log.
        let Some(file) = is_it.then(|| File::open(entry.path()).ok()).flatten() else { continue };
        let Ok(written) = file.metadata().and_then(|found| found.modified()) else { continue };
        let is_running = file.try_lock_shared().is_err();
        if !is_running {
            let _ = file.unlock();
        }
        if latest.as_ref().is_none_or(|(running, at, _)| (*running, *at) < (is_running, written)) {
            latest = Some((is_running, written, file));
        }
    }
    let Some((is_running, _, file)) = latest else { return Ok(None) };
    let decoder = zstd::stream::read::Decoder::new(GrowingFile { file, follow: follow && is_running });
    Ok(Some(UnfinishedLog { is_running, decoder: decoder.map_err(|e| io_error("zstd", &directory, e))? }))
}

impl Read for UnfinishedLog {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.decoder.read(buffer) {
            // Its end is not written yet.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
            read => read,
        }
    }
}

/// A file to which another process appends while it holds a lock on it.
struct GrowingFile {
    file: File,
    follow: bool,
}

impl Read for GrowingFile {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        const POLL: Duration = Duration::from_millis(100);
        loop {
            let count = self.file.read(buffer)?;
            if count > 0 || buffer.is_empty() || !self.follow {
                return Ok(count);
            }
            // Bytes that were written before the lock was released are read in the next round.
            match self.file.try_lock_shared() {
                Ok(()) => self.follow = false,
                Err(_) => std::thread::sleep(POLL),
            }
        }
    }
}

fn reads_like_error(line: &str) -> bool {
    const SIGNS: [&str; 13] = [
        "error:",
        "fatal:",
        "undefined reference",
        "command not found",
        ": not found",
        "no such file or directory",
        "permission denied",
        "read-only file system",
        "cannot find",
        "segmentation fault",
        "traceback (most recent call last)",
        "network is unreachable",
        "panicked at",
    ];
    let lower = line.to_ascii_lowercase();
    // `configure` reports features that are missing with the same words.
    !lower.starts_with("checking ") && SIGNS.iter().any(|sign| lower.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store_and_derivation() -> (tempfile::TempDir, LocalStore, StorePath) {
        let root = tempfile::tempdir().unwrap();
        let store = LocalStore::open(root.path()).unwrap();
        let drv = StorePath::new([1; 20], model::StorePathName::new("x.drv").unwrap());
        (root, store, drv)
    }

    fn run(chunks: &[&[u8]]) -> (Vec<Line>, LogSummary, Vec<u8>) {
        let (_root, store, drv) = store_and_derivation();
        let mut lines = Vec::new();
        let mut log = LogWriter::create(store.root(), &drv.to_string()).unwrap();
        for chunk in chunks {
            log.write(chunk, &mut |line| lines.push(line)).unwrap();
        }
        let finished = log.finish(&mut |line| lines.push(line)).unwrap();
        finished.write().unwrap();
        let mut bytes = Vec::new();
        open_log(&store, &drv).unwrap().unwrap().read_to_end(&mut bytes).unwrap();
        finished.supersede().unwrap();
        assert_eq!(open_log(&store, &drv).unwrap().is_none(), finished.short.is_some());
        (lines, finished.summary, bytes)
    }

    #[test]
    fn splits_lines_across_chunks_and_keeps_every_byte() {
        let (lines, summary, bytes) = run(&[b"@phase con", b"figure\n++ ./configure --x\nfoo: err", b"or: bad\nlast"]);
        assert_eq!(lines[0], Line::Phase("configure".into()));
        assert_eq!(lines.len(), 4);
        assert_eq!(summary.phase.as_deref(), Some("configure"));
        assert_eq!(summary.command.as_deref(), Some("./configure --x"));
        assert_eq!(summary.first_error.as_deref(), Some("foo: error: bad"));
        assert_eq!(summary.tail, ["++ ./configure --x", "foo: error: bad", "last"]);
        assert_eq!(bytes, b"@phase configure\n++ ./configure --x\nfoo: error: bad\nlast");
    }

    #[test]
    fn lines_are_safe_to_print() {
        let (lines, _, _) = run(&[b"1%\r50%\r100%\r\n\x1b[31mred\x1b[0m\x07 \xff\n\x1b]0;title\x07shown\n"]);
        let texts: Vec<_> = lines.iter().map(|l| if let Line::Text(t) = l { t.as_str() } else { "" }).collect();
        assert_eq!(texts, ["100%", "red \u{fffd}", "shown"]);
    }

    #[test]
    fn the_tail_is_bounded() {
        let text = (0..100).map(|i| format!("line {i}\n")).collect::<String>();
        let (_, summary, _) = run(&[text.as_bytes(), &[b'x'; 100_000]]);
        assert_eq!(summary.tail.len(), TAIL_LINES);
        assert_eq!(summary.tail[0], "line 76");
        assert!(summary.tail[TAIL_LINES - 1].len() < 5000);
    }

    fn text(mut log: UnfinishedLog) -> String {
        let mut text = String::new();
        log.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn a_running_log_can_be_read_and_followed() {
        let (_root, store, drv) = store_and_derivation();
        assert!(open_unfinished_log(&store, &drv, false).unwrap().is_none());
        let mut log = LogWriter::create(store.root(), &drv.to_string()).unwrap();
        let mut ignore = |_| {};
        log.write(b"one\n", &mut ignore).unwrap();
        log.flush().unwrap();
        log.write(b"two\n", &mut ignore).unwrap();
        let now = open_unfinished_log(&store, &drv, false).unwrap().unwrap();
        assert!(now.is_running);
        assert_eq!(text(now), "one\n");
        log.flush().unwrap();
        let followed = open_unfinished_log(&store, &drv, true).unwrap().unwrap();
        let follower = std::thread::spawn(move || text(followed));
        log.write(b"three\n", &mut ignore).unwrap();
        let finished = log.finish(&mut ignore).unwrap();
        assert_eq!(follower.join().unwrap(), "one\ntwo\nthree\n");
        // It is as short as one that never was a file.
        assert!(finished.short.is_some());
        assert!(open_unfinished_log(&store, &drv, false).unwrap().is_none());
    }

    #[test]
    fn the_log_of_a_killed_process_is_not_running() {
        let (_root, store, drv) = store_and_derivation();
        let mut log = LogWriter::create(store.root(), &drv.to_string()).unwrap();
        log.write(b"one\n", &mut |_| {}).unwrap();
        log.flush().unwrap();
        drop(log);
        let left = open_unfinished_log(&store, &drv, true).unwrap().unwrap();
        assert!(!left.is_running);
        assert_eq!(text(left), "one\n");
    }

    #[test]
    fn a_long_log_has_every_byte_though_it_was_flushed() {
        let (_root, store, drv) = store_and_derivation();
        let mut log = LogWriter::create(store.root(), &drv.to_string()).unwrap();
        let mut whole = String::new();
        for number in 0..9000 {
            let line = format!("line {number}\n");
            log.write(line.as_bytes(), &mut |_| {}).unwrap();
            whole.push_str(&line);
            if number % 2000 == 100 {
                log.flush().unwrap();
            }
        }
        assert!(log.finish(&mut |_| {}).unwrap().short.is_none());
        let mut read = String::new();
        open_log(&store, &drv).unwrap().unwrap().read_to_string(&mut read).unwrap();
        assert_eq!(read, whole);
    }

    #[test]
    fn a_log_that_never_was_is_none() {
        let (_root, store, drv) = store_and_derivation();
        assert!(open_log(&store, &drv).unwrap().is_none());
    }
}
