//! `store add`, `store verify`, `store gc`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use store::LocalStore;
use store::path::StorePathName;

use super::Global;
use crate::config;
use crate::print::{remark, say};
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
    RebuildDb(RebuildDb),
}

#[derive(Debug, Args)]
pub struct RebuildDb {
    /// Replace a database that a newer eval has written, too; what only that one knows is lost
    #[arg(long)]
    pub downgrade: bool,
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
    /// Mend what can be mended from another copy, forget the other paths, and build or fetch again what links lead to
    #[arg(long)]
    pub repair: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Gc {
    /// Only print what would be deleted, with sizes
    #[arg(long)]
    pub dry_run: bool,
    /// Keep the newest of what could go, up to this size of the whole store
    #[arg(long, value_name = "BYTES")]
    pub max_size: Option<u64>,
    /// Only what was registered longer ago than this, in days
    #[arg(long, value_name = "DAYS")]
    pub older_than: Option<u64>,
    /// How long to keep logs of builds whose derivations are gone, and folders of failed builds, in days
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    pub keep_logs: u64,
}

impl Store {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        if let Store::RebuildDb(RebuildDb { downgrade }) = self {
            return rebuild(global, downgrade).map(drop);
        }
        let mut store = Arc::new(config::open_store(global)?);
        if let Store::Verify(verify) = &self {
            store = with_whole_database(store, verify.repair, global)?;
        }
        let builder = |options| builder::Builder::new(store.clone(), options, Arc::new(builder::Silent));
        match self {
            Store::Add(add) => {
                let name = match (&add.name, add.path.canonicalize()) {
                    (Some(name), _) => name.clone(),
                    (None, Ok(path)) => {
                        path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
                    }
                    (None, Err(cause)) => return Err(Failure::io("cannot find", &add.path, cause)),
                };
                let name = StorePathName::new(&name)
                    .map_err(|error| Failure::new(error.to_string()).help("choose a name with `--name`"))?;
                let path = store.add_source(&add.path, name, None)?;
                say!("{}", store.physical_path(&path).display())?;
                Ok(())
            }
            Store::Verify(verify) => {
                if verify.repair {
                    // It has no names to be checked against, and all of it can be made again.
                    builder(builder::Options::default()).clear_cache()?;
                }
                let report = store.verify(verify.repair)?;
                let mended = match report.invalidated.is_empty() {
                    true => builder::Mended::default(),
                    false => {
                        let fetch = config::fetch_config(&store)?;
                        let options = builder::Options { fetch, keep_going: true, ..builder::Options::default() };
                        builder(options).mend(&report.invalidated)?
                    }
                };
                let damage: Vec<String> = report.damage.iter().map(ToString::to_string).collect();
                if verify.json {
                    say!(
                        "{}",
                        serde_json::json!({
                            "version": 1, "files": report.blobs, "paths": report.objects,
                            "readBytes": report.hashed_bytes, "damage": damage,
                            "repaired": report.repaired.iter().map(ToString::to_string).collect::<Vec<_>>(),
                            "invalidated": report.invalidated.iter().map(ToString::to_string).collect::<Vec<_>>(),
                            "madeAgain": mended.made.iter().map(ToString::to_string).collect::<Vec<_>>(),
                            "missing": mended.missing.iter().map(ToString::to_string).collect::<Vec<_>>(),
                        })
                    )?;
                } else {
                    damage.iter().try_for_each(|line| say!("{line}"))?;
                    remark!("{} paths, {} files, {} read", report.objects, report.blobs, bytes(report.hashed_bytes));
                    if verify.repair && !report.is_clean() {
                        let (again, gone) = (mended.made.len(), report.invalidated.len() - mended.made.len());
                        remark!("{} paths mended, {again} made again, {gone} forgotten", report.repaired.len());
                    }
                    for failure in &mended.failures {
                        remark!("{failure}");
                    }
                    for path in &mended.missing {
                        remark!(
                            "{} is needed and lost: evaluate what it came from again",
                            store.physical_path(path).display()
                        );
                    }
                }
                if report.is_clean() || (verify.repair && mended.missing.is_empty()) {
                    return Ok(());
                }
                if verify.repair {
                    let lost = mended.missing.len();
                    return Err(Failure::new(format!("{lost} paths that roots lead to could not be made again")));
                }
                Err(Failure::new(format!("the store is damaged in {} places", damage.len()))
                    .help("mend it with `ev store verify --repair`"))
            }
            Store::Gc(gc) => {
                if !gc.dry_run {
                    builder(builder::Options::default()).clear_cache()?;
                }
                let options = store::GcOptions {
                    dry_run: gc.dry_run,
                    max_bytes: gc.max_size,
                    older_than: gc.older_than.map(days),
                    keep_logs: Some(days(gc.keep_logs)),
                };
                let mut printed = Ok(());
                let report = store.gc(options, &mut |path| {
                    // What cannot be printed goes all the same, and is told at the end.
                    if printed.is_ok() {
                        printed = say!("{}", store.physical_path(path).display());
                    }
                })?;
                remark!(
                    "{} paths and {} files {} {}; {} paths with {} stay",
                    report.removed,
                    report.removed_blobs,
                    if gc.dry_run { "would free" } else { "freed" },
                    bytes(report.freed_bytes),
                    report.kept,
                    bytes(report.kept_bytes)
                );
                printed
            }
            Store::RebuildDb(_) => unreachable!("handled before the store is opened"),
        }
    }
}

/// Looks for damage of the database; with `repair`, makes a damaged one anew, as nothing else can be verified without it.
fn with_whole_database(store: Arc<LocalStore>, repair: bool, global: &Global) -> Result<Arc<LocalStore>, Failure> {
    match store.check_database() {
        Ok(()) => Ok(store),
        Err(error) if repair && error.is_database_damage() => {
            remark!("{error}");
            drop(store);
            Ok(Arc::new(rebuild(global, false)?))
        }
        Err(error) => Err(error.into()),
    }
}

/// Makes the database anew, and says what was found.
fn rebuild(global: &Global, downgrade: bool) -> Result<LocalStore, Failure> {
    let root = config::store_root(global)?;
    let (store, paths) = LocalStore::rebuild_db(&root, config::open_options(global), downgrade)?;
    remark!("{paths} paths found");
    Ok(store)
}

/// That many days; more than can be told are for ever.
fn days(count: u64) -> Duration {
    Duration::from_secs(count.saturating_mul(24 * 60 * 60))
}
