//! `store add`, `store verify`, `store gc`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use store::path::StorePathName;

use super::Global;
use crate::config;
use crate::progress::bytes;
use crate::report::Failure;

#[derive(Debug, Subcommand)]
pub enum Store {
    /// Add a file or a folder, and print where it lies
    Add(Add),
    /// Read everything again and compare with what it should be
    Verify(Verify),
    /// Delete what no link, profile or running build needs
    Gc(Gc),
    /// Make the database anew from what is on disk
    RebuildDb,
}

#[derive(Debug, Args)]
pub struct Add {
    pub path: PathBuf,
    /// Name in the store [default: the file's name]
    #[arg(long)]
    pub name: Option<String>,
}

#[derive(Debug, Args)]
pub struct Verify {
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Gc {
    /// Only print what would be deleted, with sizes
    #[arg(long)]
    pub dry_run: bool,
    /// Stop when this many bytes are free again
    #[arg(long, value_name = "BYTES")]
    pub max_freed: Option<u64>,
    /// Only what was registered longer ago than this, in days
    #[arg(long, value_name = "DAYS")]
    pub older_than: Option<u64>,
}

impl Store {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let store = config::open_store(global)?;
        match self {
            Store::Add(add) => {
                let name = match (&add.name, add.path.canonicalize()) {
                    (Some(name), _) => name.clone(),
                    (None, Ok(path)) => path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
                    (None, Err(cause)) => return Err(Failure::io("cannot find", &add.path, cause)),
                };
                let name = StorePathName::new(&name)
                    .map_err(|error| Failure::new(error.to_string()).help("choose a name with `--name`"))?;
                let path = store.add_source(&add.path, name, None)?;
                println!("{}", store.physical_path(&path).display());
                Ok(())
            }
            Store::Verify(verify) => {
                let report = store.verify()?;
                if verify.json {
                    println!("{}", serde_json::json!({
                        "version": 1, "blobs": report.blobs, "paths": report.paths, "bytes": report.bytes,
                        "problems": report.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
                    }));
                } else {
                    for problem in &report.problems {
                        println!("{problem}");
                    }
                    eprintln!("{} paths, {} files, {} read", report.paths, report.blobs, bytes(report.bytes));
                }
                match report.problems.len() {
                    0 => Ok(()),
                    count => Err(Failure::new(format!("the store has {count} {}", if count == 1 { "problem" } else { "problems" }))
                        .help("delete the paths named above with `ev store gc` after removing their roots, and build them again")),
                }
            }
            Store::Gc(gc) => {
                let options = store::GcOptions {
                    dry_run: gc.dry_run,
                    max_freed_bytes: gc.max_freed,
                    older_than: gc.older_than.map(|days| Duration::from_secs(days * 24 * 60 * 60)),
                };
                let report = store.gc(&options)?;
                for (path, size) in &report.paths {
                    println!("{}\t{size}", store.physical_path(path).display());
                }
                let verb = if gc.dry_run { "would free" } else { "freed" };
                eprintln!("{} paths; {verb} {}", report.paths.len(), bytes(report.freed_bytes));
                Ok(())
            }
            Store::RebuildDb => Ok(store.rebuild_database()?),
        }
    }
}
