//! The store's database: valid paths, their references, and results of actions.
//!
//! Every statement is a file beside this one. A migration is `schema/NNNN-name.sql`, applied in
//! order; the number of those applied is SQLite's `user_version`. Nothing here writes other files:
//! `register.rs` keeps the promise that a row is written only after its bytes are durable.

mod records;
mod reserve;

pub(crate) use records::store_path;
pub use records::{ActionResult, BuildRecord, ValidPath};

use crate::error::StoreError;
use os::{SysError, public};
use reserve::Reserve;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, Transaction, TransactionBehavior};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Guarantee that a registration survives a power cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Files and database are on disk before a registration returns.
    #[default]
    Full,
    /// Left to the kernel: a killed process loses nothing, a power cut may lose data. For tests and
    /// temporary stores.
    Relaxed,
}

pub(crate) const MIGRATIONS: [&str; 5] = [
    include_str!("schema/0001-initial.sql"),
    include_str!("schema/0002-sources-by-directory.sql"),
    include_str!("schema/0003-logs.sql"),
    include_str!("schema/0004-builds-by-name.sql"),
    include_str!("schema/0005-no-realisations.sql"),
];

/// The longest wait for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(120);
/// The rows changed in one transaction while space is scarce: some hundred kibibytes of the log.
const ROWS_WHEN_SPACE_IS_SCARCE: usize = 16;
/// The pause between attempts where SQLite does not wait by itself.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// A statement and its name in errors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query {
    pub name: &'static str,
    pub sql: &'static str,
}

macro_rules! queries {
    ($($constant:ident $file:literal),* $(,)?) => {
        $(pub(crate) const $constant: Query =
            Query { name: $file, sql: include_str!(concat!("query/", $file, ".sql")) };)*
        /// All statements.
        const QUERIES: &[Query] = &[$($constant),*];
    };
}

queries! {
    INSERT_PATH "insert_path", INSERT_REFERENCE "insert_reference", PATH_ID "path_id", PATH_INFO "path_info",
    PATH_NODE "path_node", PATH_REFERENCES "path_references", PATH_REFERRERS "path_referrers", ALL_PATHS "all_paths",
    ALL_REFERENCES "all_references", ALL_DERIVERS "all_derivers", ALL_PATHS_BY_ID "all_paths_by_id",
    PATHS_AFTER "paths_after", PATH_BY_ID "path_by_id", SET_NAR "set_nar", DELETE_PATH "delete_path", DELETE_REFERENCES "delete_references",
    INSERT_DERIVATION_OUTPUT "insert_derivation_output", DERIVERS_OF_PATH "derivers_of_path",
    OUTPUTS_OF_DERIVATION "outputs_of_derivation",
    ACTION_OUTPUTS "action_outputs", ALL_ACTIONS "all_actions", INSERT_ACTION "insert_action",
    DELETE_ACTION "delete_action",
    INSERT_BUILD "insert_build", BUILDS_OF_DERIVATION "builds_of_derivation", BUILDS_OF_NAME "builds_of_name",
    SOURCE "source", INSERT_SOURCE "insert_source", DELETE_SOURCES "delete_sources",
    DELETE_OLD_BUILDS "delete_old_builds", INSERT_LOG "insert_log", LOG "log", OLD_LOGS "old_logs",
    DELETE_OLD_LOGS "delete_old_logs",
}

/// The database connection, opened lazily: many commands never query it.
pub(crate) struct Database {
    path: PathBuf,
    durability: Durability,
    connection: Mutex<Option<Open>>,
    reserve: Reserve,
    /// The directory of the objects that it records: while that is not empty, a missing database is
    /// lost, and not created.
    objects: Option<PathBuf>,
}

/// A connection, and the device and inode of its file.
struct Open {
    connection: Connection,
    file: Option<(u64, u64)>,
}

/// The database at one moment, for many queries: SQLite takes its locks once, not for each.
pub(crate) struct Snapshot {
    path: PathBuf,
    connection: Mutex<Connection>,
}

/// The database within one transaction, or outside of any.
pub(crate) struct Session<'a> {
    path: &'a Path,
    connection: &'a Connection,
}

impl Database {
    /// Returns the database at `path`, which is created and migrated on first use.
    pub fn new(path: PathBuf, durability: Durability) -> Self {
        let reserve = Reserve::new(path.with_file_name("reserve"));
        Self { path, durability, connection: Mutex::new(None), reserve, objects: None }
    }

    /// Returns the database of the objects in a directory; once that has entries, a missing
    /// database is an error.
    pub fn of_objects(path: PathBuf, durability: Durability, objects: PathBuf) -> Self {
        let mut database = Self::new(path, durability);
        database.objects = Some(objects);
        database
    }

    /// Returns true when there is no file at its path, or an empty one.
    pub fn is_missing(&self) -> bool {
        match std::fs::symlink_metadata(&self.path) {
            Ok(found) => found.is_file() && found.len() == 0,
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        }
    }

    /// Checks that the database was not lost.
    ///
    /// # Errors
    /// [`StoreError::LostDatabase`].
    fn check_lost(&self) -> Result<(), StoreError> {
        let Some(objects) = self.objects.as_ref().filter(|_| self.is_missing()) else { return Ok(()) };
        // The order matters: the writer of the first object has created the database before.
        let some = std::fs::read_dir(objects).is_ok_and(|mut entries| entries.next().is_some());
        if some && self.is_missing() { Err(StoreError::LostDatabase { path: self.path.clone() }) } else { Ok(()) }
    }

    /// Returns device and inode of the file at its path.
    fn file(&self) -> Option<(u64, u64)> {
        std::fs::metadata(&self.path).ok().map(|found| (found.dev(), found.ino()))
    }

    /// Closes the database, and leaves all of it in the one file.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn close(&self) -> Result<(), StoreError> {
        let error = |query| move |source| StoreError::Database { path: self.path.clone(), query, source };
        let taken = os::lock(&self.connection).take();
        let Some(Open { connection, .. }) = taken else { return Ok(()) };
        // A rollback journal leaves no log, which would be missing where the file is moved to.
        connection.pragma_update(None, "journal_mode", "DELETE").map_err(error("journal_mode"))?;
        connection.close().map_err(|(_, source)| error("close")(source))
    }

    /// Opens the database; on a full disk with the help of the reserve.
    fn connect(&self) -> Result<Connection, StoreError> {
        let connection = match self.connect_once() {
            Err(error) if may_be_out_of_space(&error) && self.reserve.is_needed() && self.reserve.lend() => {
                self.connect_once()?
            }
            connected => connected?,
        };
        self.reserve.keep();
        Ok(connection)
    }

    fn connect_once(&self) -> Result<Connection, StoreError> {
        self.check_lost()?;
        // SQLite would create it with the umask, and copies its permissions to the files beside it.
        public::make_file(&self.path).map_err(SysError::of_store)?;
        let error = |query| move |source| StoreError::Database { path: self.path.clone(), query, source };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&self.path, flags).map_err(error("open"))?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(error("busy_timeout"))?;
        connection.set_prepared_statement_cache_capacity(64);
        let synchronous = match self.durability {
            Durability::Full => "FULL",
            Durability::Relaxed => "OFF",
        };
        let pragmas = format!(
            "PRAGMA temp_store = MEMORY; PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; PRAGMA foreign_keys = ON;"
        );
        // Of several processes that create the database at once, all but one fail as busy without
        // waiting.
        let until = Instant::now() + BUSY_TIMEOUT;
        while let Err(cause) = connection.execute_batch(&pragmas) {
            if cause.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) || Instant::now() > until {
                return Err(error("pragmas")(cause));
            }
            std::thread::sleep(BUSY_PAUSE);
        }
        migrate(&mut connection, &self.path)?;
        Ok(connection)
    }

    fn with<T>(&self, work: impl FnOnce(&mut Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut connection = os::lock(&self.connection);
        match &mut *connection {
            Some(open) => work(&mut open.connection),
            none => work(&mut none.insert(self.open()?).connection),
        }
    }

    fn open(&self) -> Result<Open, StoreError> {
        let connection = self.connect()?;
        Ok(Open { connection, file: self.file() })
    }

    /// Closes a database that another process has replaced. A writer shares the collector's lock,
    /// so no process replaces it after this.
    fn reopen_if_replaced(&self) {
        let mut connection = os::lock(&self.connection);
        connection.take_if(|open| open.file != self.file());
    }

    /// Creates the database now, unless it is open.
    pub fn make(&self) -> Result<(), StoreError> {
        self.with(|_| Ok(()))
    }

    /// Returns a snapshot of the database. Writers do not wait, and their changes are not seen.
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        // The snapshot needs a database that exists and is migrated.
        self.make()?;
        let error = |query| move |source| StoreError::Database { path: self.path.clone(), query, source };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags).map_err(error("open"))?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(error("busy_timeout"))?;
        connection.execute_batch("BEGIN").map_err(error("begin"))?;
        Ok(Snapshot { path: self.path.clone(), connection: Mutex::new(connection) })
    }

    /// Makes later transactions need little space where it is scarce: gives up the reserve, and
    /// checkpoints the log after each transaction. Returns the number of rows to change in one.
    ///
    /// # Errors
    /// When the database cannot be opened.
    pub fn save_space(&self, rows: usize) -> Result<usize, StoreError> {
        if !self.reserve.is_space_scarce() {
            return Ok(rows);
        }
        self.reserve.lend_all();
        let error = |source| StoreError::Database { path: self.path.clone(), query: "wal_autocheckpoint", source };
        self.with(|connection| connection.pragma_update(None, "wal_autocheckpoint", 1).map_err(error))?;
        Ok(rows.min(ROWS_WHEN_SPACE_IS_SCARCE))
    }

    /// Ends [`Database::save_space`], and restores the reserve.
    pub fn spend_space(&self) -> Result<(), StoreError> {
        let error = |source| StoreError::Database { path: self.path.clone(), query: "wal_autocheckpoint", source };
        self.with(|connection| connection.pragma_update(None, "wal_autocheckpoint", 1000).map_err(error))?;
        self.reserve.take_back();
        self.reserve.keep();
        Ok(())
    }

    /// Checks the database itself for damage: its pages and its schema.
    ///
    /// # Errors
    /// [`StoreError::DamagedDatabase`]; or when the check itself fails.
    pub fn check(&self) -> Result<(), StoreError> {
        let error = |source| StoreError::Database { path: self.path.clone(), query: "quick_check", source };
        self.with(|connection| {
            let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(error)?;
            if found != "ok" {
                return Err(StoreError::DamagedDatabase { path: self.path.clone(), what: found });
            }
            // A statement that can be prepared shows that its tables and columns exist.
            for query in QUERIES {
                let error = |source| StoreError::Database { path: self.path.clone(), query: query.name, source };
                connection.prepare(query.sql).map_err(error)?;
            }
            Ok(())
        })
    }

    /// Runs `work` outside of a transaction: for single statements.
    pub fn read<T>(&self, work: impl FnOnce(&Session<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.with(|connection| work(&Session { path: &self.path, connection }))
    }

    /// Runs `work`, which only reads, on a snapshot: for many queries in a row.
    pub fn read_at_once<T>(&self, work: impl FnOnce(&Session<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let error = |query| move |source| StoreError::Database { path: self.path.clone(), query, source };
        self.with(|connection| {
            let transaction = Transaction::new(connection, TransactionBehavior::Deferred).map_err(error("begin"))?;
            work(&Session { path: &self.path, connection: &transaction })
        })
    }

    /// Runs `work` in one transaction, which is rolled back when it fails.
    pub fn write<T>(&self, work: impl FnOnce(&Session<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let error = |query| move |source| StoreError::Database { path: self.path.clone(), query, source };
        self.reopen_if_replaced();
        self.with(|connection| {
            let transaction = Transaction::new(connection, TransactionBehavior::Immediate).map_err(error("begin"))?;
            let value = work(&Session { path: &self.path, connection: &transaction })?;
            transaction.commit().map_err(error("commit"))?;
            Ok(value)
        })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The index of the log goes with the last connection, which frees space for the reserve.
        drop(self.connection.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        self.reserve.take_back();
    }
}

/// Returns true when a full disk may be the cause: SQLite reports an I/O error when it cannot
/// create the index of its log.
fn may_be_out_of_space(error: &StoreError) -> bool {
    let StoreError::Database { source, .. } = error else { return false };
    matches!(source.sqlite_error_code(), Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure | ErrorCode::CannotOpen))
}

/// Returns the schema version of the database at `path`, where a damaged one still has it.
pub(crate) fn schema_version(path: &Path) -> Option<u32> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let asked = Connection::open_with_flags(path, flags)
        .and_then(|connection| connection.pragma_query_value(None, "user_version", |row| row.get(0)));
    asked.ok().or_else(|| version_in_header(path))
}

/// Reads the version from the first bytes of the file: see "The Database Header" in the description
/// of SQLite's file format.
fn version_in_header(path: &Path) -> Option<u32> {
    use std::os::unix::fs::FileExt;
    let mut header = [0; 64];
    std::fs::File::open(path).ok()?.read_exact_at(&mut header, 0).ok()?;
    header
        .starts_with(b"SQLite format 3\0")
        .then(|| u32::from_be_bytes([header[60], header[61], header[62], header[63]]))
}

/// The number of known schema versions.
pub(crate) const KNOWN_VERSION: u32 = MIGRATIONS.len() as u32;

impl Snapshot {
    /// Runs `work` on the snapshot.
    pub fn read<T>(&self, work: impl FnOnce(&Session<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let connection = os::lock(&self.connection);
        work(&Session { path: &self.path, connection: &connection })
    }
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let error = |query| move |source| StoreError::Database { path: path.to_owned(), query, source };
    let known = KNOWN_VERSION;
    let version = |connection: &Connection| -> Result<u32, StoreError> {
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(error("user_version"))
    };
    let found = version(connection)?;
    if found > known {
        return Err(StoreError::NewerSchema { path: path.to_owned(), found, known });
    }
    if found == known {
        return Ok(());
    }
    let transaction = Transaction::new(connection, TransactionBehavior::Immediate).map_err(error("begin"))?;
    // Another process may have migrated the database while this one waited.
    let found = version(&transaction)?;
    for migration in MIGRATIONS.iter().skip(found as usize) {
        transaction.execute_batch(migration).map_err(error("migration"))?;
    }
    transaction.pragma_update(None, "user_version", known).map_err(error("user_version"))?;
    transaction.commit().map_err(error("commit"))
}

impl Session<'_> {
    /// Runs a statement without rows; returns the number of changes.
    pub fn execute(&self, query: Query, values: impl rusqlite::Params) -> Result<usize, StoreError> {
        let run = || self.connection.prepare_cached(query.sql)?.execute(values);
        run().map_err(|source| self.error(query, source))
    }

    /// Returns all rows.
    pub fn rows<T>(
        &self,
        query: Query,
        values: impl rusqlite::Params,
        row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let run =
            || self.connection.prepare_cached(query.sql)?.query_map(values, row)?.collect::<rusqlite::Result<_>>();
        run().map_err(|source| self.error(query, source))
    }

    /// Calls `row` for each row, with one row in memory at a time.
    pub fn each(
        &self,
        query: Query,
        values: impl rusqlite::Params,
        mut row: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), StoreError> {
        let run = || {
            let mut statement = self.connection.prepare_cached(query.sql)?;
            let mut rows = statement.query(values)?;
            while let Some(next) = rows.next()? {
                row(next)?;
            }
            Ok(())
        };
        run().map_err(|source| self.error(query, source))
    }

    /// Returns the first row, if there is one.
    pub fn row<T>(
        &self,
        query: Query,
        values: impl rusqlite::Params,
        row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        let run = || self.connection.prepare_cached(query.sql)?.query_map(values, row)?.next().transpose();
        run().map_err(|source| self.error(query, source))
    }

    fn error(&self, query: Query, source: rusqlite::Error) -> StoreError {
        StoreError::Database { path: self.path.to_owned(), query: query.name, source }
    }
}
