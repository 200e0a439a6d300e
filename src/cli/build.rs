//! `build`: builds packages, and links the results.

use super::session::CommandSession;
use super::{Global, Installables};
use crate::interrupt::{before_end, interrupts};
use crate::print::{remark, say};
use crate::progress::Progress;
use crate::progress::events::{Both, EventStream};
use crate::report::Failure;
use builder::{BuildError, BuildReport, EventSink, NodeKind, Origin, Plan, Target};
use clap::Args;
use model::{StoreModel, StorePath};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use store::{LocalStore, StoreError};
use workspace::Wanted;

#[derive(Debug, Args)]
pub struct Build {
    /// Create no `result` link
    #[arg(long, conflicts_with = "out_link")]
    pub no_link: bool,
    /// Name of the link to create
    #[arg(short, long, value_name = "PATH", default_value = "result")]
    pub out_link: PathBuf,
    /// Print the paths of the outputs on this machine
    #[arg(long)]
    pub print_out_paths: bool,
    /// Print a report as JSON, also of a failure
    #[arg(long)]
    pub json: bool,
    /// Write each event of the build to a file as a line of JSON, `-` for standard output; with `-L`
    /// the lines of logs too
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub events: Option<PathBuf>,
    /// Print the plan, and build nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Rebuild existing outputs and compare
    #[arg(long)]
    pub rebuild: bool,
    #[command(flatten)]
    pub installables: Installables,
}

/// Plan, report of its run unless it is a dry run, and the outputs asked for.
type Done = (Arc<Plan>, Option<BuildReport>, Vec<Built>);

impl Build {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let events = self.events(global)?;
        let result = self.build_and_print(global, events.clone());
        if let Some(events) = events {
            events.finish(result.as_ref().map(|_| ()));
        }
        result
    }

    /// Opens the stream of events.
    fn events(&self, global: &Global) -> Result<Option<Arc<EventStream>>, Failure> {
        let Some(to) = &self.events else { return Ok(None) };
        if to.as_os_str() == "-" && (self.json || self.print_out_paths) {
            let message = "`--events -` prints events where the result would be printed";
            return Err(Failure::usage(message).help("`--events FILE` leaves standard output to the result"));
        }
        let events = Arc::new(EventStream::open(to, global.logs)?);
        let interrupted = Arc::downgrade(&events);
        before_end(move || {
            if let Some(events) = interrupted.upgrade() {
                events.finish(Err(&Failure::interrupted()));
            }
        });
        Ok(Some(events))
    }

    fn build_and_print(&self, global: &Global, events: Option<Arc<EventStream>>) -> Result<(), Failure> {
        let progress = Progress::start(self.installables.evaluation.building.display(global.display()));
        let mut settings = global.settings(&self.installables.evaluation)?;
        settings.building.rebuild = self.rebuild;
        let sink: Arc<dyn EventSink> = match events {
            Some(events) => Arc::new(Both(events, progress.sink())),
            None => progress.sink(),
        };
        let session = CommandSession::open(global, settings, sink)?;
        let done = self.build(&session, &progress);
        progress.finish();
        let (plan, report, wanted) = done.map_err(|failure| failure.with_places(&session.editable()))?;
        if self.dry_run {
            return self.print_plan(&session.store, &plan);
        }
        self.link(&session.store, &wanted)?;
        let report = report.unwrap_or_default();
        if self.json {
            say!("{}", to_json(&session.store, &plan, &report, &wanted))?;
        } else if self.print_out_paths {
            for path in wanted.iter().flat_map(|built| built.outputs.values()) {
                say!("{}", session.store.physical_path(path).display())?;
            }
        }
        Ok(())
    }

    fn build(&self, session: &CommandSession, progress: &Progress) -> Result<Done, Failure> {
        let mut targets = Vec::new();
        let mut ready = Vec::new();
        for wanted in session.resolve(&self.installables.names())? {
            match wanted {
                Wanted::Derivation { drv, outputs } => targets.push(Target { drv, outputs }),
                Wanted::Path(path) => {
                    ready.push(Built { drv: None, outputs: BTreeMap::from([("out".to_owned(), path)]).into() })
                }
            }
        }
        progress.set_files(session.editable());
        let plan = Arc::new(session.builder.plan(&targets)?);
        drop(targets);
        let built = plan.targets.iter().map(|t| Built { drv: Some(t.drv.clone()), outputs: t.outputs.clone() });
        let wanted: Vec<Built> = built.chain(ready).collect();
        if self.dry_run {
            return Ok((plan, None, wanted));
        }
        self.check_links(&session.store, &wanted)?;
        let _cooperating = interrupts().cooperate();
        match session.builder.realise(Arc::clone(&plan)) {
            Ok(report) => Ok((plan, Some(report), wanted)),
            Err(BuildError::Failed(report)) => {
                let results: Vec<_> = wanted.iter().map(|built| built.to_json(&session.store)).collect();
                let realised = realised_json(&session.store, &report);
                let details = serde_json::json!({ "results": results, "realised": realised });
                Err(Failure::from(BuildError::Failed(report)).with_details(details))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the names of the links and their targets: `result`, `result-dev`, `result-1`, …,
    /// which are the names Nix uses.
    fn links<'b>(&self, built: &'b [Built]) -> Vec<(PathBuf, &'b StorePath)> {
        let mut links = Vec::new();
        for (number, built) in built.iter().enumerate().filter(|_| !self.no_link) {
            for (output, path) in &*built.outputs {
                let mut name = self.out_link.clone().into_os_string();
                if number > 0 {
                    name.push(format!("-{number}"));
                }
                if output != "out" {
                    name.push(format!("-{output}"));
                }
                links.push((name.into(), path));
            }
        }
        links
    }

    /// Checks that the links can be created, before anything is built.
    fn check_links(&self, store: &LocalStore, built: &[Built]) -> Result<(), Failure> {
        for (link, _) in self.links(built) {
            store.check_root(&link).map_err(|error| match &error {
                StoreError::Root { reason, .. } => {
                    Failure::new(format!("cannot create the link `{}`: {reason}", link.display()))
                        .code(error.code())
                        .help("move it away, choose another name with `-o NAME`, or use `--no-link`")
                }
                _ => error.into(),
            })?;
        }
        Ok(())
    }

    /// Creates the links. Each is a root of the collector.
    fn link(&self, store: &LocalStore, built: &[Built]) -> Result<(), Failure> {
        for (link, path) in self.links(built) {
            store.add_root(&link, path)?;
        }
        Ok(())
    }

    fn print_plan(&self, store: &LocalStore, plan: &Plan) -> Result<(), Failure> {
        if self.json {
            say!("{}", plan.to_json())?;
            return Ok(());
        }
        if plan.is_empty() {
            remark!("up to date: nothing to do");
        }
        for node in &plan.nodes {
            let path = node.outputs.values().next().map(|path| store.physical_path(path).display().to_string());
            say!("{:7} {}  {}", kind_name(node.kind), node.name, path.unwrap_or_default())?;
        }
        Ok(())
    }
}

/// Returns the object that `--json` prints; `docs/schemas/build.json` describes it.
fn to_json(store: &LocalStore, plan: &Plan, report: &BuildReport, wanted: &[Built]) -> serde_json::Value {
    let results: Vec<_> = wanted.iter().map(|built| built.to_json(store)).collect();
    let count = |kinds: &[NodeKind], origins: &[Origin]| {
        let nodes = plan.nodes.iter().filter(|node| kinds.contains(&node.kind));
        nodes.filter(|node| report.realised.get(&node.drv).is_some_and(|(o, _)| origins.contains(o))).count()
    };
    serde_json::json!({
        "version": 1,
        "success": true,
        "results": results,
        "realised": realised_json(store, report),
        "summary": {
            "built": count(&[NodeKind::Build], &[Origin::Built, Origin::Reproduced]),
            "cutOff": count(&[NodeKind::Build], &[Origin::CutOff]),
            "fetched": report.count(Origin::Fetched),
            "made": count(&[NodeKind::Tree, NodeKind::Unpack], &[Origin::Built, Origin::Reproduced]),
        },
    })
}

fn realised_json(store: &LocalStore, report: &BuildReport) -> Vec<serde_json::Value> {
    let realised = report.realised.iter().map(|(drv, (origin, duration))| {
        // A short log is in the database; `ev log` prints both.
        let log = store.log_dir().join(format!("{drv}.zst"));
        serde_json::json!({
            "drvPath": StoreModel::Native.print(drv), "how": origin, "durationSecs": duration.as_secs_f64(),
            "logPath": log.exists().then_some(log),
        })
    });
    realised.collect()
}

/// One target with the outputs asked for.
struct Built {
    drv: Option<StorePath>,
    outputs: Arc<BTreeMap<String, StorePath>>,
}

impl Built {
    fn to_json(&self, store: &LocalStore) -> serde_json::Value {
        let logical: BTreeMap<_, _> =
            self.outputs.iter().map(|(name, path)| (name, StoreModel::Native.print(path))).collect();
        let physical: BTreeMap<_, _> =
            self.outputs.iter().map(|(name, path)| (name, store.physical_path(path))).collect();
        let valid = store.valid_among(self.outputs.values().cloned());
        serde_json::json!({
            "valid": valid.is_ok_and(|valid| valid.len() == self.outputs.len()),
            "drvPath": self.drv.as_ref().map(|drv| StoreModel::Native.print(drv)),
            "outputs": logical,
            "physicalOutputs": physical,
        })
    }
}

fn kind_name(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Build => "build",
        NodeKind::Fetch => "fetch",
        NodeKind::Unpack => "unpack",
        NodeKind::Tree => "tree",
    }
}
