//! `build`: builds packages, and links the results.

use super::session::CommandSession;
use super::{Global, Installables};
use crate::interrupt::interrupts;
use crate::print::{remark, say};
use crate::progress::Progress;
use crate::report::Failure;
use builder::{Origin, Plan, Target};
use clap::Args;
use model::{StoreModel, StorePath};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::LocalStore;
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
type Done = (Arc<Plan>, Option<builder::BuildReport>, Vec<Built>);

impl Build {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let progress = Progress::start(self.installables.evaluation.building.display(global.display()));
        let mut settings = global.settings(&self.installables.evaluation)?;
        settings.building.rebuild = self.rebuild;
        let session = CommandSession::open(global, settings, progress.sink())?;
        let done = self.build(&session, &progress);
        progress.finish();
        let (plan, report, wanted) =
            done.map_err(|failure| failure.with_places(&session.editable()).after_reports())?;
        if self.dry_run {
            return self.print_plan(&session.store, &plan);
        }
        self.link(&session.store, &wanted)?;
        let report = report.unwrap_or_default();
        if self.json {
            say!("{}", self.to_json(&session.store, &plan, &report, &wanted))?;
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
        let outputs = |plan: &Plan| {
            let built = plan.targets.iter().map(|t| Built { drv: Some(t.drv.clone()), outputs: t.outputs.clone() });
            built.chain(ready).collect::<Vec<_>>()
        };
        if self.dry_run {
            let wanted = outputs(&plan);
            return Ok((plan, None, wanted));
        }
        let _cooperating = interrupts().cooperate();
        let report = session.builder.realise(Arc::clone(&plan))?;
        let wanted = outputs(&plan);
        Ok((plan, Some(report), wanted))
    }

    /// Creates the links `result`, `result-dev`, `result-1`, …, which are the names Nix uses. Each
    /// is a root of the collector.
    fn link(&self, store: &LocalStore, built: &[Built]) -> Result<(), Failure> {
        if self.no_link {
            return Ok(());
        }
        for (number, built) in built.iter().enumerate() {
            for (output, path) in &*built.outputs {
                let mut name = self.out_link.clone().into_os_string();
                if number > 0 {
                    name.push(format!("-{number}"));
                }
                if output != "out" {
                    name.push(format!("-{output}"));
                }
                store.add_root(Path::new(&name), path)?;
            }
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

    fn to_json(
        &self,
        store: &LocalStore,
        plan: &Plan,
        report: &builder::BuildReport,
        wanted: &[Built],
    ) -> serde_json::Value {
        let results: Vec<_> = wanted.iter().map(|built| built.to_json(store)).collect();
        let realised: Vec<_> = report
            .realised
            .iter()
            .map(|(drv, (origin, duration))| {
                serde_json::json!({
                    "drvPath": StoreModel::Native.print(drv), "how": origin, "durationSecs": duration.as_secs_f64()
                })
            })
            .collect();
        let builds = |origin| {
            let runs = plan.nodes.iter().filter(|node| node.kind == builder::NodeKind::Build);
            runs.filter(|node| report.realised.get(&node.drv).is_some_and(|(o, _)| *o == origin)).count()
        };
        serde_json::json!({
            "version": 1,
            "success": true,
            "results": results,
            "realised": realised,
            "summary": {
                "built": builds(Origin::Built) + builds(Origin::Reproduced),
                "cutOff": builds(Origin::CutOff),
                "fetched": report.count(Origin::Fetched),
            },
        })
    }
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
        serde_json::json!({
            "drvPath": self.drv.as_ref().map(|drv| StoreModel::Native.print(drv)),
            "outputs": logical,
            "physicalOutputs": physical,
        })
    }
}

fn kind_name(kind: builder::NodeKind) -> &'static str {
    match kind {
        builder::NodeKind::Build => "build",
        builder::NodeKind::Fetch => "fetch",
        builder::NodeKind::Unpack => "unpack",
        builder::NodeKind::Tree => "tree",
    }
}
