//! Rows as values, and queries for one path, action or derivation.

use super::*;
use model::hash::Hash;
use model::path::StorePath;
use model::tree::{Digest, Node};
use rusqlite::params;
use std::collections::{BTreeMap, BTreeSet};

/// The record of a valid path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidPath {
    pub path: StorePath,
    pub node: Node,
    pub references: BTreeSet<StorePath>,
    pub deriver: Option<StorePath>,
    /// Bytes of all files together.
    pub bytes: u64,
    pub nar_hash: Option<Hash>,
    pub nar_size_bytes: Option<u64>,
    /// Seconds since 1970.
    pub registered_at: u64,
}

/// One run of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildRecord {
    pub derivation: StorePath,
    pub action: Digest,
    /// Seconds since 1970.
    pub started_at: u64,
    pub duration_ms: u64,
    pub cpu_ms: u64,
    pub memory_peak_bytes: Option<u64>,
    /// The log's file name below `log/`.
    pub log: Option<String>,
    /// `succeeded`, or the reason of the failure.
    pub status: String,
}

/// The outputs of an action, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionResult {
    pub outputs: BTreeMap<String, Node>,
}

impl ValidPath {
    /// Returns a record of `node` at `path`, without references and deriver, which the caller adds.
    pub fn new(path: StorePath, node: Node, bytes: u64) -> Self {
        Self {
            path,
            node,
            references: Default::default(),
            deriver: None,
            bytes,
            nar_hash: None,
            nar_size_bytes: None,
            registered_at: 0,
        }
    }
}

pub(crate) fn bad(what: impl Into<String>) -> StoreError {
    StoreError::Record { what: what.into() }
}

pub(crate) fn store_path(text: &str) -> Result<StorePath, StoreError> {
    StorePath::parse(text).map_err(|error| bad(error.to_string()))
}

pub(crate) fn node(bytes: &[u8]) -> Result<Node, StoreError> {
    Node::from_bytes(bytes).ok_or_else(|| bad("a tree node"))
}

fn digest(bytes: &[u8]) -> Result<Digest, StoreError> {
    Digest::from_slice(bytes).ok_or_else(|| bad("a digest"))
}

impl Session<'_> {
    pub fn is_valid(&self, path: &StorePath) -> Result<bool, StoreError> {
        Ok(self.row(PATH_ID, [path.to_string()], |row| row.get::<_, i64>(0))?.is_some())
    }

    /// Returns the paths of the outputs `names` of a derivation, when it and they are valid.
    pub fn valid_outputs(
        &self,
        derivation: &StorePath,
        names: &BTreeSet<String>,
    ) -> Result<Option<BTreeMap<String, StorePath>>, StoreError> {
        let mut valid = BTreeMap::new();
        let mut unsound = Ok(());
        self.each(OUTPUTS_OF_DERIVATION, [derivation.to_string()], |row| {
            let name = row.get_ref(0)?.as_str()?;
            if row.get::<_, bool>(2)? && names.contains(name) {
                match store_path(row.get_ref(1)?.as_str()?) {
                    Ok(path) => drop(valid.insert(name.to_owned(), path)),
                    Err(error) => unsound = Err(error),
                }
            }
            Ok(())
        })?;
        unsound?;
        Ok((valid.len() == names.len()).then_some(valid))
    }

    pub fn node(&self, path: &StorePath) -> Result<Option<Node>, StoreError> {
        let bytes = self.row(PATH_NODE, [path.to_string()], |row| row.get::<_, Vec<u8>>(0))?;
        bytes.map(|bytes| node(&bytes)).transpose()
    }

    pub fn path_info(&self, path: &StorePath) -> Result<Option<ValidPath>, StoreError> {
        type Columns = (Vec<u8>, i64, Option<i64>, Option<String>, i64, Option<String>);
        let row: Option<Columns> = self.row(PATH_INFO, [path.to_string()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
        })?;
        let Some((bytes_of_node, bytes, nar_size, nar_hash, registered_at, deriver)) = row else { return Ok(None) };
        Ok(Some(ValidPath {
            path: path.clone(),
            node: node(&bytes_of_node)?,
            references: self.neighbours(PATH_REFERENCES, path)?,
            deriver: deriver.as_deref().map(store_path).transpose()?,
            bytes: bytes as u64,
            nar_hash: nar_hash
                .map(|text| Hash::parse(&text, None))
                .transpose()
                .map_err(|error| bad(error.to_string()))?,
            nar_size_bytes: nar_size.map(|size| size as u64),
            registered_at: registered_at as u64,
        }))
    }

    /// Returns the references or the referrers of a path, itself included where it refers to
    /// itself.
    pub fn neighbours(&self, query: Query, path: &StorePath) -> Result<BTreeSet<StorePath>, StoreError> {
        let texts = self.rows(query, [path.to_string()], |row| row.get::<_, String>(0))?;
        texts.iter().map(|text| store_path(text)).collect()
    }

    pub fn insert_path(&self, info: &ValidPath) -> Result<(), StoreError> {
        self.execute(
            INSERT_PATH,
            params![
                info.path.to_string(),
                info.node.to_bytes(),
                info.bytes as i64,
                info.nar_size_bytes.map(|size| size as i64),
                info.nar_hash.map(|hash| hash.sri()),
                info.registered_at as i64,
                info.deriver.as_ref().map(StorePath::to_string),
            ],
        )?;
        Ok(())
    }

    /// Records the references of a path, which must be valid.
    pub fn insert_references(&self, info: &ValidPath) -> Result<(), StoreError> {
        let path = info.path.to_string();
        for reference in &info.references {
            let added = self.execute(INSERT_REFERENCE, [&path, &reference.to_string()])?;
            if added == 0 && !self.is_valid(reference)? {
                return Err(StoreError::DanglingReference { path: info.path.clone(), reference: reference.clone() });
            }
        }
        Ok(())
    }

    pub fn action_result(&self, action: &Digest) -> Result<BTreeMap<String, Node>, StoreError> {
        let rows = self.rows(ACTION_OUTPUTS, [action.bytes().as_slice()], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?))
        })?;
        rows.into_iter().map(|(output, bytes)| Ok((output, node(&bytes)?))).collect()
    }

    pub fn insert_action(&self, action: &Digest, outputs: &BTreeMap<String, Node>, now: u64) -> Result<(), StoreError> {
        self.execute(DELETE_ACTION, [action.bytes().as_slice()])?;
        for (output, node) in outputs {
            self.execute(INSERT_ACTION, params![action.bytes().as_slice(), output, node.to_bytes(), now as i64])?;
        }
        Ok(())
    }

    pub fn insert_build(&self, build: &BuildRecord) -> Result<(), StoreError> {
        self.execute(
            INSERT_BUILD,
            params![
                build.derivation.to_string(),
                build.action.bytes().as_slice(),
                build.started_at as i64,
                build.duration_ms as i64,
                build.cpu_ms as i64,
                build.memory_peak_bytes.map(|bytes| bytes as i64),
                build.log,
                build.status,
            ],
        )?;
        Ok(())
    }

    pub fn insert_log(&self, derivation: &StorePath, frame: &[u8], now: u64) -> Result<(), StoreError> {
        self.execute(INSERT_LOG, params![derivation.to_string(), now as i64, frame])?;
        Ok(())
    }

    pub fn log(&self, derivation: &StorePath) -> Result<Option<Vec<u8>>, StoreError> {
        self.row(LOG, [derivation.to_string()], |row| row.get(0))
    }

    /// Returns the number and size of the logs that a collection may remove: those written before
    /// `limit`.
    pub fn old_logs(&self, limit: u64) -> Result<(u64, u64), StoreError> {
        let row = self.row(OLD_LOGS, [limit as i64], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
        Ok(row.map_or((0, 0), |(count, bytes)| (count as u64, bytes as u64)))
    }

    /// Returns builds, latest first, selected by `query` with the text `key`.
    pub fn builds(&self, query: Query, key: &str) -> Result<Vec<BuildRecord>, StoreError> {
        type Columns = (String, Vec<u8>, i64, i64, i64, Option<i64>, Option<String>, String);
        let rows: Vec<Columns> = self.rows(query, [key], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?, row.get(7)?))
        })?;
        rows.into_iter()
            .map(|(derivation, action, started_at, duration_ms, cpu_ms, memory, log, status)| {
                Ok(BuildRecord {
                    derivation: store_path(&derivation)?,
                    action: digest(&action)?,
                    started_at: started_at as u64,
                    duration_ms: duration_ms as u64,
                    cpu_ms: cpu_ms as u64,
                    memory_peak_bytes: memory.map(|bytes| bytes as u64),
                    log,
                    status,
                })
            })
            .collect()
    }
}
