//! Caches the bytecode of files between processes, in one SQLite database in the user's cache
//! directory.
//!
//! Invariant: errors cost time and nothing else. So nothing here fails: an unreadable row is
//! treated as absent, a failed write is dropped, and a damaged database is removed. The last writes
//! may be lost when the machine stops.

use os::private;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

/// Size of the database beyond which the older half of its rows is deleted.
const BYTES_MAX: i64 = 256 << 20;

/// Time to wait for another process that writes.
const WAIT: Duration = Duration::from_millis(200);

pub struct CodeCache {
    directory: PathBuf,
    bytes_max: i64,
    state: Mutex<Database>,
}

enum Database {
    NotOpened,
    Open(Connection),
    /// Missing, exposed or failed.
    Unusable,
}

impl CodeCache {
    /// Caches in `directory`, which is created with the first row.
    pub fn new(directory: PathBuf) -> CodeCache {
        CodeCache { directory, bytes_max: BYTES_MAX, state: Mutex::new(Database::NotOpened) }
    }

    fn file(&self) -> PathBuf {
        self.directory.join("code.sqlite")
    }

    fn read(connection: &Connection, key: &[u8; 32]) -> rusqlite::Result<Option<Vec<u8>>> {
        let mut query = connection.prepare_cached("SELECT bytes FROM code WHERE key = ?1")?;
        query.query_row([key], |row| row.get(0)).optional()
    }

    fn write(&self, rows: &[([u8; 32], Vec<u8>)]) -> rusqlite::Result<()> {
        let file = self.file();
        if self.is_exposed() {
            // Another user may have written it.
            self.remove();
        }
        // SQLite gives the files beside the database its permissions.
        let made = private::make_directories(&self.directory).and_then(|()| private::open_file(&file));
        if made.is_err() || self.is_exposed() {
            return Ok(());
        }
        let mut connection = open(&file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "OFF")?;
        let transaction = connection.transaction()?;
        transaction.execute_batch(
            "CREATE TABLE IF NOT EXISTS code (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, bytes BLOB NOT NULL)",
        )?;
        let used: i64 = transaction.query_row(
            "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size",
            [],
            |row| row.get(0),
        )?;
        if used > self.bytes_max {
            transaction.execute("DELETE FROM code WHERE id <= (SELECT (min(id) + max(id)) / 2 FROM code)", [])?;
        }
        {
            let mut insert = transaction.prepare("INSERT OR REPLACE INTO code (key, bytes) VALUES (?1, ?2)")?;
            for (key, bytes) in rows {
                insert.execute(params![key, bytes])?;
            }
        }
        transaction.commit()
    }

    /// Returns whether other users may have written the database: its code is executed, so theirs
    /// must not be read.
    fn is_exposed(&self) -> bool {
        private::is_exposed(&self.directory) || private::is_exposed(&self.file())
    }

    fn remove(&self) {
        for suffix in ["", "-wal", "-shm"] {
            let mut file = self.file().into_os_string();
            file.push(suffix);
            let _ = std::fs::remove_file(file);
        }
    }

    /// Removes a database that is damaged.
    fn remove_if_damaged(&self, error: &rusqlite::Error) {
        if let Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) = error.sqlite_error_code() {
            self.remove();
        }
    }
}

fn open(file: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(file, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(WAIT)?;
    Ok(connection)
}

impl lang::host::CodeCache for CodeCache {
    fn get(&self, key: &[u8; 32]) -> Option<Vec<u8>> {
        let mut state = os::lock(&self.state);
        if let Database::NotOpened = *state
            && self.is_exposed()
        {
            *state = Database::Unusable;
        }
        if let Database::NotOpened = *state {
            // One transaction for all reads of an evaluation: a lock for each file would cost as
            // much as finding it.
            let opened = open(&self.file(), OpenFlags::SQLITE_OPEN_READ_WRITE)
                .and_then(|connection| connection.execute_batch("BEGIN").map(|()| connection));
            *state = opened.map_or(Database::Unusable, Database::Open);
        }
        let Database::Open(connection) = &*state else { return None };
        match CodeCache::read(connection, key) {
            Ok(bytes) => bytes,
            Err(error) => {
                *state = Database::Unusable;
                self.remove_if_damaged(&error);
                None
            }
        }
    }

    fn put(&self, rows: &[([u8; 32], Vec<u8>)]) {
        *os::lock(&self.state) = Database::NotOpened;
        if let Err(error) = self.write(rows) {
            self.remove_if_damaged(&error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lang::host::CodeCache as _;

    fn row(number: u8, length: usize) -> ([u8; 32], Vec<u8>) {
        ([number; 32], vec![number; length])
    }

    #[test]
    fn the_next_process_finds_the_rows() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("made/when/needed");
        assert_eq!(CodeCache::new(place.clone()).get(&[1; 32]), None);
        let cache = CodeCache::new(place.clone());
        cache.put(&[row(1, 10), row(2, 100_000)]);
        cache.put(&[row(1, 20)]);
        assert_eq!(cache.get(&[1; 32]), Some(vec![1; 20]));
        let next = CodeCache::new(place);
        assert_eq!(next.get(&[2; 32]), Some(vec![2; 100_000]));
        assert_eq!(next.get(&[3; 32]), None);
    }

    #[test]
    fn one_writes_while_another_reads() {
        let directory = tempfile::tempdir().unwrap();
        let [one, other] = [0, 1].map(|_| CodeCache::new(directory.path().to_owned()));
        one.put(&[row(1, 10)]);
        assert_eq!(one.get(&[1; 32]), Some(vec![1; 10]));
        other.put(&[row(2, 10)]);
        assert_eq!(other.get(&[1; 32]), Some(vec![1; 10]));
        // A reader sees the state of its first read.
        assert_eq!(one.get(&[2; 32]), None);
        assert_eq!(one.get(&[1; 32]), Some(vec![1; 10]));
    }

    #[test]
    fn a_damaged_database_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let cache = || CodeCache::new(directory.path().to_owned());
        let file = cache().file();
        std::fs::write(&file, "what is this").unwrap();
        assert_eq!(cache().get(&[1; 32]), None);
        assert!(!file.exists());
        std::fs::write(&file, "x".repeat(10_000)).unwrap();
        cache().put(&[row(1, 10)]);
        cache().put(&[row(1, 10)]);
        assert_eq!(cache().get(&[1; 32]), Some(vec![1; 10]));
    }

    #[test]
    fn a_cache_that_others_can_write_is_not_read() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("cache");
        let cache = || CodeCache::new(place.clone());
        cache().put(&[row(1, 10)]);
        assert_eq!(cache().get(&[1; 32]), Some(vec![1; 10]));
        for (path, before, mode) in [(place.clone(), 0o700, 0o770), (cache().file(), 0o600, 0o602)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(cache().get(&[1; 32]), None, "{}", path.display());
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(before)).unwrap();
        }
        assert_eq!(cache().get(&[1; 32]), Some(vec![1; 10]));
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("a file");
        std::fs::write(&place, "").unwrap();
        let cache = CodeCache::new(place);
        cache.put(&[row(1, 10)]);
        assert_eq!(cache.get(&[1; 32]), None);
    }

    #[test]
    fn the_older_half_is_deleted_when_the_database_is_full() {
        let directory = tempfile::tempdir().unwrap();
        let cache = CodeCache { bytes_max: 1 << 20, ..CodeCache::new(directory.path().to_owned()) };
        for number in 0..40 {
            cache.put(&[row(number, 100_000)]);
        }
        let kept: Vec<u8> = (0..40).filter(|number| cache.get(&[*number; 32]).is_some()).collect();
        assert!(kept.len() > 3 && kept.len() < 14, "{kept:?}");
        assert_eq!(kept.last(), Some(&39));
        assert!(std::fs::metadata(cache.file()).unwrap().len() < 3 << 20);
    }
}
