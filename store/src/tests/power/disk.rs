//! A disk whose writes and flushes are recorded: a FUSE file system with one file, below a loop
//! device.
//!
//! A disk promises little: writes before a flush are on it after the flush; of later writes, any
//! part may be, in any order. [`Record::image`] makes an image that a disk can hold after the power
//! failed.
//!
//! The protocol is that of `linux/fuse.h`, version 7.31, as far as a loop device needs it.

use nix::errno::Errno;
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The unit that is written as a whole or not at all.
const BLOCK: usize = 4096;
const MAX_WRITE: usize = 32 * BLOCK;
const ROOT: u64 = 1;
const DISK: u64 = 2;

/// One event of the disk.
pub enum Event {
    Write(u64, Vec<u8>),
    Flush,
}

#[derive(Default)]
struct State {
    blocks: BTreeMap<u64, Vec<u8>>,
    events: Vec<Event>,
}

impl State {
    fn write(&mut self, offset: u64, bytes: &[u8]) {
        put(&mut self.blocks, offset, bytes);
        self.events.push(Event::Write(offset, bytes.to_vec()));
    }

    fn read(&self, offset: u64, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        let mut done = 0;
        while done < size {
            let at = offset as usize + done;
            let count = (BLOCK - at % BLOCK).min(size - done);
            if let Some(block) = self.blocks.get(&((at / BLOCK) as u64)) {
                bytes[done..done + count].copy_from_slice(&block[at % BLOCK..at % BLOCK + count]);
            }
            done += count;
        }
        bytes
    }
}

fn put(blocks: &mut BTreeMap<u64, Vec<u8>>, offset: u64, bytes: &[u8]) {
    let mut done = 0;
    while done < bytes.len() {
        let at = offset as usize + done;
        let count = (BLOCK - at % BLOCK).min(bytes.len() - done);
        let block = blocks.entry((at / BLOCK) as u64).or_insert_with(|| vec![0; BLOCK]);
        block[at % BLOCK..at % BLOCK + count].copy_from_slice(&bytes[done..done + count]);
        done += count;
    }
}

/// The disk while it is recorded.
pub struct Disk {
    place: PathBuf,
    state: Arc<Mutex<State>>,
    server: Option<std::thread::JoinHandle<()>>,
}

impl Disk {
    /// Returns a disk of `size` bytes, all of them zero, below the empty directory `place`.
    pub fn new(place: &Path, size: u64) -> Result<Disk, Errno> {
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").map_err(errno)?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        mount(Some("disk"), place, Some("fuse"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(options.as_str()))?;
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let server = std::thread::spawn(move || serve(device, size, &shared));
        Ok(Disk { place: place.to_owned(), state, server: Some(server) })
    }

    pub fn file(&self) -> PathBuf {
        self.place.join("disk")
    }

    /// The number of recorded events.
    pub fn len(&self) -> usize {
        self.state.lock().unwrap().events.len()
    }

    /// Returns the record; the disk is gone then.
    pub fn take(self) -> Record {
        let state = Arc::clone(&self.state);
        drop(self);
        Record { events: std::mem::take(&mut state.lock().unwrap().events) }
    }
}

/// Waits for holders that close a file later: the kernel's for a loop device, programs that another
/// thread is starting with files of this process.
pub fn unmount(place: &Path) {
    let begin = Instant::now();
    while let Err(error) = umount2(place, MntFlags::empty()) {
        assert!(
            error == Errno::EBUSY && begin.elapsed() < Duration::from_secs(20),
            "umount {}: {error}",
            place.display()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(&self.place);
        self.server.take().unwrap().join().unwrap();
    }
}

/// All events of a disk.
pub struct Record {
    pub events: Vec<Event>,
}

impl Record {
    /// Writes to the new file `to` the content of a disk of `size` bytes when the power fails after
    /// `count` events: all writes before the last flush, and those of the later blocks that `keep`
    /// selects.
    pub fn image(&self, to: &Path, size: u64, count: usize, mut keep: impl FnMut() -> bool) {
        let events = &self.events[..count];
        let flushed = events.iter().rposition(|event| matches!(event, Event::Flush)).unwrap_or(0);
        let mut blocks = BTreeMap::new();
        for (at, event) in events.iter().enumerate() {
            let Event::Write(offset, bytes) = event else { continue };
            let mut start = 0;
            while start < bytes.len() {
                let end = (start + BLOCK - (*offset as usize + start) % BLOCK).min(bytes.len());
                if at < flushed || keep() {
                    put(&mut blocks, offset + start as u64, &bytes[start..end]);
                }
                start = end;
            }
        }
        let file = File::create(to).unwrap();
        file.set_len(size).unwrap();
        for (number, block) in blocks {
            file.write_all_at(&block, number * BLOCK as u64).unwrap();
        }
    }
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

/// Answers the kernel until the file system is unmounted.
fn serve(mut device: File, size: u64, state: &Mutex<State>) {
    let mut request = vec![0; MAX_WRITE + BLOCK];
    loop {
        let count = match device.read(&mut request) {
            Ok(count) => count,
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::ENOENT)) => continue,
            Err(_) => return,
        };
        let (head, body) = request[..count].split_at(40);
        let (opcode, unique, node) = (u32_at(head, 4), u64_at(head, 8), u64_at(head, 16));
        let answer = match opcode {
            // FORGET, INTERRUPT, BATCH_FORGET: not answered.
            2 | 36 | 42 => continue,
            // LOOKUP
            1 if body.strip_suffix(b"\0") == Some(b"disk") => {
                Ok([&u64s(&[DISK, 0, 1 << 30, 1 << 30]), &[0; 8][..], &attributes(DISK, size)].concat())
            }
            1 => Err(Errno::ENOENT),
            // GETATTR, SETATTR
            3 | 4 => Ok([&u64s(&[1 << 30, 0])[..], &attributes(node, size)].concat()),
            // OPEN, OPENDIR
            14 | 27 => Ok(u64s(&[0, 0])),
            // READ
            15 => Ok(state.lock().unwrap().read(u64_at(body, 8), u32_at(body, 16) as usize)),
            // WRITE
            16 => {
                let count = u32_at(body, 16);
                state.lock().unwrap().write(u64_at(body, 8), &body[40..40 + count as usize]);
                Ok(u64s(&[count.into()]))
            }
            // FSYNC
            20 => {
                state.lock().unwrap().events.push(Event::Flush);
                Ok(Vec::new())
            }
            // STATFS, with sizes that no program reads
            17 => Ok(vec![0; 80]),
            // RELEASE, FLUSH, RELEASEDIR, DESTROY
            18 | 25 | 29 | 38 => Ok(Vec::new()),
            // INIT: version 7.31, large writes.
            26 => {
                const BIG_WRITES: u32 = 1 << 5;
                const MAX_PAGES: u32 = 1 << 22;
                let mut answer = Vec::new();
                for number in [7, 31, MAX_WRITE as u32, BIG_WRITES | MAX_PAGES, 0, MAX_WRITE as u32, 1, 32] {
                    answer.extend(u32::to_ne_bytes(number));
                }
                answer.resize(64, 0);
                Ok(answer)
            }
            _ => Err(Errno::ENOSYS),
        };
        let (error, body) = match answer {
            Ok(body) => (0, body),
            Err(errno) => (-(errno as i32), Vec::new()),
        };
        let mut reply = Vec::new();
        reply.extend((16 + body.len() as u32).to_ne_bytes());
        reply.extend(error.to_ne_bytes());
        reply.extend(unique.to_ne_bytes());
        reply.extend(body);
        // An interrupted request is not waited for any more.
        let _ = device.write_all(&reply);
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn u64s(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_ne_bytes()).collect()
}

/// `struct fuse_attr`.
fn attributes(node: u64, size: u64) -> Vec<u8> {
    let (mode, size) = if node == ROOT { (libc::S_IFDIR | 0o700, 0) } else { (libc::S_IFREG | 0o600, size) };
    let mut bytes = u64s(&[node, size, size / 512, 1, 1, 1]);
    // Fractions of times, mode, links, owner, group, device, block size, flags.
    for number in [0, 0, 0, mode, 1, 0, 0, 0, BLOCK as u32, 0] {
        bytes.extend(u32::to_ne_bytes(number));
    }
    bytes
}
