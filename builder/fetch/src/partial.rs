//! A download in progress: bytes that survive the process, and their hash so far.
//!
//! `<partial_dir>/<key>.part` holds the bytes, `<key>.from` the URL they come from and the
//! validator (`ETag` or `Last-Modified`) the server gave. The key is the expected hash, else a hash
//! of the URLs. The file is locked while a process writes it, and one that does not fit on the disk
//! is removed, as it would only keep the disk full. Nothing is trusted because it is stored here:
//! bytes found are hashed again, and a whole file only leaves this directory when its hash is the
//! expected one.

use super::FetchConfig;
use model::hash::{Hash, HashAlgorithm, Hasher};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use os::private;
use os::space::{FreeSpace, OutOfSpace};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The file of which the bytes on disk are the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub url: String,
    /// A strong `ETag` or a date, for `If-Range`.
    pub validator: String,
}

fn full(error: OutOfSpace) -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, error)
}

pub(super) struct Partial {
    file: Flock<File>,
    path: PathBuf,
    origin_path: PathBuf,
    origin: Option<Origin>,
    algorithm: HashAlgorithm,
    hasher: Hasher,
    len: u64,
    room: FreeSpace,
}

impl Partial {
    /// Opens or makes the part of this key and hashes its bytes; waits while another process has
    /// the lock. Returns none when `cancel` is set while it waits.
    pub fn open(config: &FetchConfig, key: &str, algorithm: HashAlgorithm) -> io::Result<Option<Self>> {
        let (dir, cancel) = (config.partial_dir.as_path(), &*config.cancel);
        // Private: files fetched with a password are stored here as well.
        private::make_directories(dir)?;
        let path = dir.join(format!("{key}.part"));
        let origin_path = dir.join(format!("{key}.from"));
        let mut file = loop {
            let mut file = private::open_file(&path)?;
            let file = loop {
                match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                    Ok(locked) => break locked,
                    Err((unlocked, Errno::EWOULDBLOCK | Errno::EINTR)) => file = unlocked,
                    Err((_, errno)) => return Err(errno.into()),
                }
                if cancel.load(Ordering::Relaxed) {
                    return Ok(None);
                }
                std::thread::sleep(Duration::from_millis(50));
            };
            // The last holder of the lock may have finished, and moved the file away.
            let ours = file.metadata()?;
            match fs::symlink_metadata(&path) {
                Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => break file,
                _ => continue,
            }
        };
        let mut hasher = Hasher::new(algorithm);
        let mut len = 0;
        let mut buffer = vec![0; 1 << 17];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                n => {
                    hasher.update(&buffer[..n]);
                    len += n as u64;
                }
            }
            if cancel.load(Ordering::Relaxed) {
                return Ok(None);
            }
        }
        let origin = fs::read_to_string(&origin_path).ok().and_then(|text| {
            let (url, validator) = text.split_once('\n')?;
            Some(Origin { url: url.to_owned(), validator: validator.strip_suffix('\n')?.to_owned() })
        });
        let room = FreeSpace::new(dir, config.space_help);
        Ok(Some(Self { file, path, origin_path, origin, algorithm, hasher, len, room }))
    }

    /// Returns the number of bytes so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// Discards the bytes.
    pub fn restart(&mut self) -> io::Result<()> {
        self.origin = None;
        match fs::remove_file(&self.origin_path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.hasher = Hasher::new(self.algorithm);
        self.len = 0;
        Ok(())
    }

    /// Records the source of the bytes that are written next.
    pub fn set_origin(&mut self, origin: Origin) -> io::Result<()> {
        private::write_file(&self.origin_path, format!("{}\n{}\n", origin.url, origin.validator).as_bytes())?;
        self.origin = Some(origin);
        Ok(())
    }

    /// Checks that all of a file that will have `total` bytes fits in the free space.
    pub fn require(&self, total: u64) -> io::Result<()> {
        self.room.require(total.saturating_sub(self.len)).map_err(full)
    }

    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.room.claim(bytes.len() as u64).map_err(full)?;
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Returns the hash of all bytes; the file must be restarted or moved afterwards.
    pub fn hash(&mut self) -> Hash {
        std::mem::replace(&mut self.hasher, Hasher::new(self.algorithm)).finish()
    }

    /// Removes the file when nothing has arrived.
    pub fn drop_if_empty(self) {
        if self.len == 0 {
            self.discard();
        }
    }

    /// Removes the bytes that have arrived. Errors are ignored, as the caller reports the one that
    /// led here.
    pub fn discard(self) {
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_file(&self.origin_path);
    }

    /// Moves the file to `dest`, and replaces a file there in one step.
    pub fn finish(self, dest: &Path) -> io::Result<()> {
        match fs::rename(&self.path, dest) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                let mut name = dest.file_name().unwrap_or_default().to_owned();
                name.push(".incoming");
                let beside = dest.with_file_name(name);
                let copied = FreeSpace::new(&beside, self.room.help())
                    .require(self.len)
                    .map_err(full)
                    .and_then(|()| fs::copy(&self.path, &beside))
                    .and_then(|_| fs::rename(&beside, dest));
                if let Err(error) = copied {
                    let _ = fs::remove_file(&beside);
                    return Err(error);
                }
                fs::remove_file(&self.path)?;
            }
            other => other?,
        }
        match fs::remove_file(&self.origin_path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
