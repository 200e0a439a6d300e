//! `store verify`: compares everything with its checksums, and repairs damage.

use super::rebuild_db::rebuild;
use crate::cli::Global;
use crate::cli::session::console;
use crate::interrupt::interrupts;
use crate::print::{remark, say};
use crate::progress::bytes;
use crate::report::Failure;
use builder::Repaired;
use clap::Args;
use std::sync::Arc;
use store::{LocalStore, VerifyReport};

#[derive(Debug, Args)]
pub struct Verify {
    /// Repair damaged paths from intact copies; invalidate the rest, and rebuild those that GC
    /// roots need
    #[arg(long)]
    pub repair: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

impl Verify {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let store = Arc::new(global.store_settings()?.open(&console(global))?);
        let store = with_whole_database(store, self.repair, global)?;
        let builder = |options| builder::Builder::new(store.clone(), options, Arc::new(builder::Silent));
        if self.repair {
            // The cache has no checksums, and all of it can be made again.
            builder(builder::Options::default()).clear_cache()?;
        }
        let report = store.verify(self.repair)?;
        let rebuilt = match report.invalidated.is_empty() {
            true => Repaired::default(),
            false => {
                let partial = store.root().join("tmp").join("partial");
                let fetch = global.environment().fetch_config(partial, interrupts())?;
                let options = builder::Options { fetch, keep_going: true, ..builder::Options::default() };
                builder(options).repair(&report.invalidated)?
            }
        };
        if self.json {
            say!("{}", to_json(&report, &rebuilt))?;
        } else {
            self.print(&store, &report, &rebuilt)?;
        }
        if report.is_clean() || (self.repair && rebuilt.missing.is_empty()) {
            return Ok(());
        }
        if self.repair {
            let lost = rebuilt.missing.len();
            return Err(Failure::new(format!("cannot rebuild {lost} paths that GC roots need")));
        }
        Err(Failure::new(format!("the store is damaged in {} places", report.damage.len()))
            .help("repair it with `ev store verify --repair`"))
    }

    fn print(&self, store: &LocalStore, report: &VerifyReport, rebuilt: &Repaired) -> Result<(), Failure> {
        report.damage.iter().try_for_each(|damage| say!("{damage}"))?;
        remark!("{} paths, {} files, {} read", report.objects, report.blobs, bytes(report.hashed_bytes));
        if self.repair && !report.is_clean() {
            let (again, gone) = (rebuilt.made.len(), report.invalidated.len() - rebuilt.made.len());
            remark!("{} paths repaired, {again} rebuilt, {gone} invalidated", report.repaired.len());
        }
        for failure in &rebuilt.failures {
            remark!("{failure}");
            if let Some(help) = failure.error.help() {
                remark!("{help}");
            }
        }
        for path in &rebuilt.missing {
            remark!("{} is needed and lost: evaluate its source again", store.physical_path(path).display());
        }
        Ok(())
    }
}

fn to_json(report: &VerifyReport, rebuilt: &Repaired) -> serde_json::Value {
    let texts = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>();
    serde_json::json!({
        "version": 1, "files": report.blobs, "paths": report.objects, "readBytes": report.hashed_bytes,
        "damage": texts(&mut report.damage.iter().map(ToString::to_string)),
        "repaired": texts(&mut report.repaired.iter().map(ToString::to_string)),
        "invalidated": texts(&mut report.invalidated.iter().map(ToString::to_string)),
        "madeAgain": texts(&mut rebuilt.made.iter().map(ToString::to_string)),
        "missing": texts(&mut rebuilt.missing.iter().map(ToString::to_string)),
    })
}

/// Checks the database; with `repair`, rebuilds a damaged one, because nothing else can be verified
/// without it.
fn with_whole_database(store: Arc<LocalStore>, repair: bool, global: &Global) -> Result<Arc<LocalStore>, Failure> {
    match store.check_database() {
        Ok(()) => Ok(store),
        Err(error) if repair && error.is_database_damage() => {
            remark!("{error}; repairing it");
            drop(store);
            Ok(Arc::new(rebuild(global, false)?))
        }
        Err(error) => Err(error.into()),
    }
}
