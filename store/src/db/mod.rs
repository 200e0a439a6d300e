//! The store's database: which paths are valid, what they refer to, and what actions gave.
//!
//! Every statement is a file beside this one. A migration is `schema/NNNN-name.sql`, applied in order; the number of
//! those applied is SQLite's `user_version`. Nothing here touches the file system: the promise that a row is written
//! only after its bytes are durable is kept by [`crate::register`].

mod records;

pub(crate) use records::store_path;
pub use records::{BuildRecord, Realisation, ValidPath};

use crate::error::StoreError;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, Transaction, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How certain a registration is to survive a power cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Files and database are on disk before a registration returns.
    #[default]
    Full,
    /// Left to the kernel: a killed process loses nothing, a power cut may. For tests and throw-away stores.
    Relaxed,
}

const MIGRATIONS: [&str; 4] = [
    include_str!("schema/0001-initial.sql"),
    include_str!("schema/0002-sources-by-directory.sql"),
    include_str!("schema/0003-logs.sql"),
    include_str!("schema/0004-builds-by-name.sql"),
];

/// How long to wait for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(120);
/// Where SQLite does not wait by itself, it is asked again after this.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// A statement and the name that errors call it by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query {
    pub name: &'static str,
    pub sql: &'static str,
}

macro_rules! queries {
    ($($constant:ident $file:literal),* $(,)?) => {
        $(pub(crate) const $constant: Query =
            Query { name: $file, sql: include_str!(concat!("query/", $file, ".sql")) };)*
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
    DELETE_ACTION "delete_action", INSERT_REALISATION "insert_realisation", REALISATION "realisation",
    INSERT_BUILD "insert_build", BUILDS_OF_DERIVATION "builds_of_derivation", BUILDS_OF_NAME "builds_of_name",
    SOURCE "source", INSERT_SOURCE "insert_source", DELETE_SOURCES "delete_sources",
    DELETE_OLD_BUILDS "delete_old_builds", INSERT_LOG "insert_log", LOG "log", OLD_LOGS "old_logs",
    DELETE_OLD_LOGS "delete_old_logs",
}

/// The database, opened when it is first asked: many a command has a store and no question.
pub(crate) struct Database {
    path: PathBuf,
    durability: Durability,
    connection: Mutex<Option<Connection>>,
}

/// The database as it was at one moment, for many questions in a row: SQLite's locks are taken once, not for each.
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
    /// The database at `path`, which is made and brought up to date when it is first used.
    pub fn new(path: PathBuf, durability: Durability) -> Self {
        Self { path, durability, connection: Mutex::new(None) }
    }

    fn connect(&self) -> Result<Connection, StoreError> {
        let error = |query| move |source| StoreError::Database { path: self.path.clone(), query, source };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&self.path, flags).map_err(error("open"))?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(error("busy_timeout"))?;
        connection.set_prepared_statement_cache_capacity(64);
        let synchronous = match self.durability {
            Durability::Full => "FULL",
            Durability::Relaxed => "OFF",
        };
        let pragmas =
            format!("PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; PRAGMA foreign_keys = ON;");
        // Of several that make the database at once all but one are told that it is busy, without having waited.
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
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *connection {
            Some(connection) => work(connection),
            none => work(none.insert(self.connect()?)),
        }
    }

    /// Makes the database now, unless it is in use already.
    pub fn make(&self) -> Result<(), StoreError> {
        self.with(|_| Ok(()))
    }

    /// Returns the database as it is now. Writers are not kept out, and nothing they write is seen.
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        // It has to be there and up to date.
        self.make()?;
        let error = |query| move |source| StoreError::Database { path: self.path.clone(), query, source };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags).map_err(error("open"))?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(error("busy_timeout"))?;
        connection.execute_batch("BEGIN").map_err(error("begin"))?;
        Ok(Snapshot { path: self.path.clone(), connection: Mutex::new(connection) })
    }

    /// Runs `work` outside of a transaction: for single statements.
    pub fn read<T>(&self, work: impl FnOnce(&Session<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.with(|connection| work(&Session { path: &self.path, connection }))
    }

    /// Runs `work`, which only reads, on the database as it is at one moment: for many questions in a row.
    pub fn read_at_once<T>(&self, work: impl FnOnce(&Session<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let error = |query| move |source| StoreError::Database { path: self.path.clone(), query, source };
        self.with(|connection| {
            let transaction = Transaction::new(connection, TransactionBehavior::Deferred).map_err(error("begin"))?;
            work(&Session { path: &self.path, connection: &transaction })
        })
    }

    /// Runs `work` in one transaction, which is undone when it fails.
    pub fn write<T>(&self, work: impl FnOnce(&Session<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let error = |query| move |source| StoreError::Database { path: self.path.clone(), query, source };
        self.with(|connection| {
            let transaction = Transaction::new(connection, TransactionBehavior::Immediate).map_err(error("begin"))?;
            let value = work(&Session { path: &self.path, connection: &transaction })?;
            transaction.commit().map_err(error("commit"))?;
            Ok(value)
        })
    }
}

impl Snapshot {
    /// Asks the database as it was.
    pub fn read<T>(&self, work: impl FnOnce(&Session<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        work(&Session { path: &self.path, connection: &connection })
    }
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let error = |query| move |source| StoreError::Database { path: path.to_owned(), query, source };
    let known = MIGRATIONS.len() as u32;
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
    // Another process may have been here while this one waited.
    let found = version(&transaction)?;
    for migration in MIGRATIONS.iter().skip(found as usize) {
        transaction.execute_batch(migration).map_err(error("migration"))?;
    }
    transaction.pragma_update(None, "user_version", known).map_err(error("user_version"))?;
    transaction.commit().map_err(error("commit"))
}

impl Session<'_> {
    /// Runs a statement that gives no rows; returns how many it changed.
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

    /// Calls `row` for all rows, of which one is in memory at a time.
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
