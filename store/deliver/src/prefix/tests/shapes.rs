//! Kinds of entries that can have a reserved name.

use super::*;
use nix::sys::stat::Mode as Bits;

/// An entry to make at a path.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// An empty file.
    Empty,
    /// A file of these bytes.
    File(&'static str),
    /// A sparse file of a large size.
    Huge,
    /// A link to a file outside.
    LinkToFile,
    /// A link to a directory outside.
    LinkToDirectory,
    /// A dangling link, outside.
    Dangling,
    /// A link to an entry of the same directory.
    Relative(&'static str),
    /// A link to itself.
    Circle,
    EmptyDirectory,
    /// A directory with a file.
    Directory,
    /// A directory with a program and a marker of these bytes.
    Generation(&'static str),
    /// A directory whose marker is a pipe.
    PipedGeneration,
    Fifo,
    Socket,
}

use Shape::*;

pub const ALL: [Shape; 27] = [
    Empty,
    File("precious file"),
    File("1"),
    File("link"),
    File("incoming"),
    File(".."),
    File("../../../outside/directory"),
    File("{\"generation\":7,\"mode\":\"copy\",\"source\":\"/x\"}"),
    Huge,
    LinkToFile,
    LinkToDirectory,
    Dangling,
    Relative("1"),
    Relative(".stuff.generations/1"),
    Circle,
    EmptyDirectory,
    Directory,
    Generation("{\"generation\":1,\"mode\":\"copy\",\"source\":\"/x\"}"),
    Generation("{\"generation\":2,\"mode\":\"hardlink\",\"source\":\"/x\"}"),
    Generation("{\"generation\":9,\"mode\":\"copy\",\"source\":\"/x\"}"),
    Generation("{\"generation\":4294967295,\"mode\":\"copy\",\"source\":\"/x\"}"),
    Generation("{\"generation\":0,\"mode\":\"copy\",\"source\":\"/x\"}"),
    Generation("{\"generation\":-1}"),
    Generation("none"),
    PipedGeneration,
    Fifo,
    Socket,
];

impl Shape {
    /// Makes it at a free path; links lead to `outside`.
    pub fn put(self, at: &Path, outside: &Path) {
        match self {
            Empty => fs::write(at, "").unwrap(),
            File(text) => fs::write(at, text).unwrap(),
            Huge => fs::File::create(at).unwrap().set_len(1 << 40).unwrap(),
            LinkToFile => symlink(outside.join("file"), at).unwrap(),
            LinkToDirectory => symlink(outside.join("directory"), at).unwrap(),
            Dangling => symlink(outside.join("nothing"), at).unwrap(),
            Relative(text) => symlink(text, at).unwrap(),
            Circle => symlink(at.file_name().unwrap(), at).unwrap(),
            EmptyDirectory => fs::create_dir(at).unwrap(),
            Directory => {
                fs::create_dir(at).unwrap();
                fs::write(at.join("mine"), "precious in a directory").unwrap();
            }
            Generation(marker) => {
                fs::create_dir(at).unwrap();
                fs::write(at.join("mine"), "precious in a generation").unwrap();
                fs::write(at.join(MARKER), marker).unwrap();
            }
            PipedGeneration => {
                fs::create_dir(at).unwrap();
                nix::unistd::mkfifo(&at.join(MARKER), Bits::from_bits_truncate(0o644)).unwrap();
            }
            Fifo => nix::unistd::mkfifo(at, Bits::from_bits_truncate(0o644)).unwrap(),
            Socket => {
                // A path may be longer than the address of a socket.
                let directory = fs::File::open(at.parent().unwrap()).unwrap();
                let descriptor = std::os::fd::AsRawFd::as_raw_fd(&directory);
                let short = format!("/proc/self/fd/{descriptor}/{}", at.file_name().unwrap().display());
                drop(std::os::unix::net::UnixListener::bind(short).unwrap());
            }
        }
    }

    /// The user's bytes in it, which must be found again; none for one of our own notes.
    pub fn precious(self) -> Option<&'static str> {
        match self {
            File("precious file") => Some("precious file"),
            Directory => Some("precious in a directory"),
            Generation(_) => Some("precious in a generation"),
            _ => None,
        }
    }
}

/// Lists everything below a directory, without following links: kinds, permissions, times,
/// contents.
pub fn seen(top: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut pending = vec![top.to_owned()];
    while let Some(path) = pending.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        let contents = if metadata.is_symlink() {
            fs::read_link(&path).unwrap().display().to_string()
        } else if metadata.is_file() && metadata.len() < 1 << 20 {
            String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned()
        } else {
            String::new()
        };
        let (mode, modified) = (metadata.mode(), (metadata.mtime(), metadata.mtime_nsec()));
        lines.push(format!("{} {mode:o} {modified:?} {} {contents}", path.display(), metadata.len()));
        if metadata.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    lines.sort();
    lines
}

/// Returns true when a file with these bytes is anywhere below a directory.
pub fn is_somewhere(top: &Path, text: &str) -> bool {
    seen(top).iter().any(|line| line.ends_with(text))
}
