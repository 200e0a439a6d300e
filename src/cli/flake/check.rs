//! `flake check`: evaluates the outputs of a flake by their kinds, and builds its checks. All errors
//! are reported, not only the first.

use super::kinds::Kind;
use super::session::{FlakeArguments, OpenFlake, concerns_output, or_json, text_at};
use crate::cli::{Building, Global};
use crate::interrupt::interrupts;
use crate::print::{remark, say};
use crate::progress::Progress;
use crate::report::Failure;
use builder::Target;
use clap::Args;
use lang::text::attr_path::AttrPath;
use lang::{Evaluator, Value, View};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use workspace::Error;
use workspace::environment::current_system;
use workspace::installable::Outputs;

#[derive(Debug, Args)]
pub struct Check {
    /// Do not build the checks
    #[arg(long)]
    pub no_build: bool,
    /// Check the outputs for all systems; only those of this one are built
    #[arg(long)]
    pub all_systems: bool,
    /// Print a report as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub flake: FlakeArguments,
    #[command(flatten)]
    pub building: Building,
}

struct Walk<'f> {
    check: &'f Check,
    flake: &'f OpenFlake,
    system: String,
    checked: Vec<String>,
    omitted: BTreeSet<String>,
    unknown: Vec<String>,
    failures: Vec<(String, Failure)>,
    targets: Vec<Target>,
}

impl Check {
    pub fn run(mut self, global: &Global) -> Result<(), Failure> {
        // One failed check says nothing about the others.
        self.building.keep_going = true;
        let progress = Progress::start(global.display());
        let checked = self.check(global, &progress);
        progress.finish();
        let (name, report) = or_json(checked, self.json)?;
        for (_, failure) in &report.failures {
            failure.print(global.show_trace);
        }
        if !global.quiet {
            let names = |names: &[String]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            if !report.unknown.is_empty() {
                remark!("warning: outputs of no known kind, which are not checked: {}", names(&report.unknown));
            }
            if !report.omitted.is_empty() {
                let systems: Vec<String> = report.omitted.iter().cloned().collect();
                remark!("not checked: outputs for {} (`--all-systems` does)", names(&systems));
            }
        }
        if self.json {
            let failures: Vec<_> = report
                .failures
                .iter()
                .map(|(path, failure)| json!({ "path": path, "error": failure.to_json()["error"] }))
                .collect();
            say!(
                "{}",
                json!({
                    "version": 1, "success": failures.is_empty(), "flake": name, "checked": report.checked,
                    "unknown": report.unknown, "omittedSystems": report.omitted, "failures": failures,
                })
            )?;
        } else if report.failures.is_empty() && !global.quiet {
            remark!("{} outputs are right", report.checked.len());
        }
        let Some((_, first)) = report.failures.first() else { return Ok(()) };
        let failed: Vec<&str> = report.failures.iter().map(|(path, _)| path.as_str()).collect();
        let message = format!("{} of {} outputs failed: `{}`", failed.len(), report.checked.len(), failed.join("`, `"));
        let mut failure = Failure::new(message).code(first.code);
        failure.exit = first.exit;
        Err(failure)
    }

    fn check(&self, global: &Global, progress: &Progress) -> Result<(String, Report), Failure> {
        let flake = self.flake.open_with(global, &self.building, progress.sink())?;
        let outputs = flake.outputs()?;
        let mut walk = Walk {
            check: self,
            flake: &flake,
            system: current_system(),
            checked: Vec::new(),
            omitted: BTreeSet::new(),
            unknown: Vec::new(),
            failures: Vec::new(),
            targets: Vec::new(),
        };
        walk.output(&mut Vec::new(), outputs)?;
        let Walk { checked, omitted, unknown, mut failures, targets, .. } = walk;
        flake.session.write_derivations()?;
        if !self.no_build && !targets.is_empty() {
            let plan = Arc::new(flake.session.builder.plan(&targets)?);
            let _cooperating = interrupts().cooperate();
            if let Err(error) = flake.session.builder.realise(plan) {
                let failure = Failure::from(error);
                if matches!(failure.exit, crate::exit::Exit::Interrupted(_)) {
                    return Err(failure);
                }
                failures.push((format!("checks.{}", current_system()), failure));
            }
        }
        Ok((flake.name(), Report { checked, omitted, unknown, failures }))
    }
}

struct Report {
    checked: Vec<String>,
    omitted: BTreeSet<String>,
    unknown: Vec<String>,
    failures: Vec<(String, Failure)>,
}

impl Walk<'_> {
    fn output(&mut self, path: &mut Vec<String>, value: Value) -> Result<(), Error> {
        let shown = path.iter().collect::<AttrPath>().to_string();
        if let Some(system) = Kind::system(path).filter(|system| **system != *self.system)
            && !self.check.all_systems
        {
            self.omitted.insert(system.to_owned());
            return Ok(());
        }
        let kind = Kind::of(path).unwrap_or(Kind::Unknown);
        if !matches!(kind, Kind::Set | Kind::System | Kind::Jobs | Kind::Unknown) {
            self.checked.push(shown.clone());
        }
        if kind == Kind::Unknown {
            self.unknown.push(shown.clone());
        }
        if let Err(error) = self.evaluated(path, kind, value) {
            let failure = Failure::from(concerns_output(error)?);
            self.failures.push((shown, failure));
        }
        Ok(())
    }

    fn evaluated(&mut self, path: &mut Vec<String>, kind: Kind, value: Value) -> Result<(), Error> {
        let shown = path.iter().collect::<AttrPath>().to_string();
        let while_checking = |error: lang::Error| error.note(format!("while checking the output `{shown}`"));
        let wrong = |wanted: &str| Error::WrongOutput { path: path.iter().collect(), wanted: wanted.to_owned() };
        let session = &self.flake.session;
        let evaluate = |work: &mut dyn FnMut(&mut Evaluator) -> lang::Result<bool>, wanted: &str| match session
            .evaluate(|evaluator| work(evaluator).map_err(while_checking))?
        {
            true => Ok(()),
            false => Err(wrong(wanted)),
        };
        match kind {
            Kind::Set | Kind::System | Kind::Jobs => {
                let forced = session.evaluate(|evaluator| evaluator.force(value).map_err(while_checking))?;
                if kind == Kind::Jobs && self.derivation(path, value)? {
                    return Ok(());
                }
                let members = self.flake.members(forced)?.ok_or_else(|| wrong("a set"))?;
                for (name, member) in members {
                    path.push(name);
                    match kind {
                        Kind::Jobs => self.job(path, member)?,
                        _ => self.output(path, member)?,
                    }
                    path.pop();
                }
                Ok(())
            }
            Kind::Derivation(_) => match self.derivation(path, value)? {
                true => Ok(()),
                false => Err(wrong("a derivation")),
            },
            Kind::Legacy => evaluate(&mut |evaluator| Ok(evaluator.force(value)?.as_attrs().is_some()), "a set"),
            Kind::App => {
                let is_app = &mut |evaluator: &mut Evaluator| {
                    evaluator.force(value)?;
                    Ok(text_at(evaluator, value, &["type"]).as_deref() == Some("app")
                        && text_at(evaluator, value, &["program"]).is_some())
                };
                evaluate(is_app, "an app: a set with `type = \"app\"` and a string `program`")
            }
            Kind::Template => {
                let is_template = &mut |evaluator: &mut Evaluator| {
                    evaluator.force(value)?;
                    let path = evaluator.attr(value, "path")?;
                    Ok(path.is_some() && text_at(evaluator, value, &["description"]).is_some())
                };
                evaluate(is_template, "a template: a set with a `path` and a string `description`")
            }
            Kind::Overlay => evaluate(
                &mut |evaluator| {
                    let value = evaluator.force(value)?;
                    Ok(matches!(value.view(), View::Function(_) | View::Partial(_)))
                },
                "an overlay: a function of two arguments",
            ),
            Kind::Configuration => {
                let toplevel = ["config", "system", "build", "toplevel"];
                let is_configuration = &mut |evaluator: &mut Evaluator| {
                    let path: AttrPath = toplevel.into_iter().collect();
                    let system = evaluator.select_path(value, &path.to_string())?;
                    Ok(evaluator.derivation_of(system)?.is_some())
                };
                evaluate(is_configuration, "a NixOS configuration, with a derivation `config.system.build.toplevel`")
            }
            Kind::Module | Kind::Library => evaluate(&mut |evaluator| evaluator.force(value).map(|_| true), "a value"),
            // Not evaluated, as in Nix.
            Kind::Unknown => Ok(()),
        }
    }

    /// Checks a member of `hydraJobs`: a derivation, or a set of members.
    fn job(&mut self, path: &mut Vec<String>, value: Value) -> Result<(), Error> {
        let shown = path.iter().collect::<AttrPath>().to_string();
        let before = self.checked.len();
        if let Err(error) = self.evaluated(path, Kind::Jobs, value) {
            let failure = Failure::from(concerns_output(error)?);
            self.failures.push((shown.clone(), failure));
        }
        // A set of jobs is no job.
        if self.checked.len() == before {
            self.checked.push(shown);
        }
        Ok(())
    }

    /// Evaluates a derivation, and has it built if it is a check; `false` for another value.
    fn derivation(&mut self, path: &[String], value: Value) -> Result<bool, Error> {
        let shown = path.iter().collect::<AttrPath>().to_string();
        let session = &self.flake.session;
        let found = session.evaluate(|evaluator| {
            let found = evaluator.derivation_of(value);
            found.map_err(|error| error.note(format!("while checking the output `{shown}`")))
        })?;
        if found.is_none() {
            return Ok(false);
        }
        if path[0] == "checks" && path.get(1) == Some(&self.system) {
            for wanted in session.derivations_of(value, &Outputs::Default, &shown)? {
                if let workspace::Wanted::Derivation { drv, outputs } = wanted {
                    self.targets.push(Target { drv, outputs });
                }
            }
        }
        Ok(true)
    }
}
