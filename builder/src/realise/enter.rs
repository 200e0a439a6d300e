//! Enters the sandbox of a derivation's build: the very root, mounts, environment, user and limits
//! of the build, with a command of the user.
//!
//! The request of a visit is made as that of the build is, from the derivation. The directories
//! that a failed build left are the only part that it could change. They are hostile data: they are
//! mounted where the build had them, and nothing else reads them.

use super::local::{LocalExecutor, SandboxParts};
use super::prepare::check_platform;
use crate::Builder;
use crate::attributes::Attributes;
use crate::derivation;
use crate::error::{BuildError, attribute, io_error};
use crate::failed::{FailedBuild, FailedBuildInUse, REQUEST};
use crate::inputs::Inputs;
use crate::phases::BuildFunctions;
use crate::plan::{self, Target};
use crate::rootfs::CacheInUse;
use crate::schedule::Load;
use model::{StoreModel, StorePath};
use sandbox::request::{Bind, Request, Words};
use sandbox::{NewTerminal, Outcome, Streams, Visit};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::ScratchPath;

/// The directories in which a visitor works.
pub enum EntryPlace<'a> {
    /// Those that a failed build left.
    Failed(&'a FailedBuild),
    /// New ones, as a build starts with, removed at the end.
    Fresh,
}

/// The sandbox of a build, ready to be entered.
pub struct Entry {
    request: Request,
    executor: LocalExecutor,
    /// The form in which the build asks for job tokens.
    token_form: Option<sandbox::request::JobserverForm>,
    /// The directory beside which the FIFO of job tokens is made.
    beside: PathBuf,
    /// Paths inside of the shells that inputs bring.
    shells: Vec<PathBuf>,
    /// Directories with programs of the direct inputs, inside.
    programs: Vec<PathBuf>,
    /// Set when the derivation itself sets `PATH`.
    sets_path: bool,
    _cache: Arc<CacheInUse>,
    _failed: Option<FailedBuildInUse>,
    _fresh: Option<ScratchPath>,
}

impl Builder {
    /// Makes the inputs of a derivation valid, and prepares the sandbox of its build.
    ///
    /// # Errors
    /// When an input cannot be realised, or the derivation not be built in a sandbox here.
    pub fn enter(&self, drv: &StorePath, place: EntryPlace<'_>) -> Result<Entry, BuildError> {
        let store = &self.store;
        let derivation = store.derivation(drv)?;
        if derivation.builder.starts_with(b"builtin:") {
            let builder = String::from_utf8_lossy(&derivation.builder).into_owned();
            return Err(BuildError::NoSandbox {
                name: drv.name().as_str().trim_end_matches(".drv").to_owned(),
                builder,
            });
        }
        let failed = match place {
            EntryPlace::Failed(failed) => Some(failed.enter()?),
            EntryPlace::Fresh => None,
        };
        let mut direct: BTreeSet<StorePath> = derivation.input_sources.clone();
        let mut targets = Vec::new();
        for (input, wanted) in &derivation.input_derivations {
            let known = derivation::output_paths(input, &store.derivation(input)?)?;
            for name in wanted {
                let path = known.get(name).ok_or_else(|| BuildError::UnknownOutput {
                    drv: input.clone(),
                    output: name.clone(),
                    known: known.keys().cloned().collect(),
                })?;
                direct.insert(path.clone());
            }
            targets.push(Target { drv: input.clone(), outputs: wanted.clone() });
        }
        // Before they are asked for, so that none is collected between.
        store.temp_roots(direct.iter().cloned())?;
        let plan = plan::plan(store, &targets, false, self.options.in_order)?;
        if !plan.is_empty() {
            self.realise(plan)?;
        }

        let attributes = Attributes::of(&derivation)?;
        check_platform(&derivation, &attributes, &self.options)?;
        let outputs = derivation::output_paths(drv, &derivation)?;
        let inputs = Inputs::of(store, &derivation, &attributes, &direct)?;
        let roots = &self.services().roots;
        let overlap = attributes.words("__overlap")?.unwrap_or_default().join(" ");
        let united = inputs.roots.as_ref().map(|trees| roots.unite(trees, &overlap)).transpose()?;
        let invocation = derivation::invocation(&derivation, &attributes, &outputs, inputs.roots.is_some())?;
        let cache = roots.hold_cache(store)?;
        let root_layers = match (&inputs.roots, &united) {
            (Some(trees), Some(united)) => roots.layers(trees, united)?,
            _ => Vec::new(),
        };
        let executor = LocalExecutor::new(store, roots, &self.options);
        let (beside, fresh) = match place {
            EntryPlace::Failed(failed) => (failed.path.clone(), None),
            EntryPlace::Fresh => {
                let fresh = store.scratch_dir("visit")?;
                for name in ["build", "output"] {
                    let path = fresh.path().join(name);
                    fs::create_dir(&path).map_err(|e| io_error("mkdir", &path, e))?;
                }
                (fresh.path().to_owned(), Some(fresh))
            }
        };
        let mut request = executor.request(SandboxParts {
            invocation: &invocation,
            inputs: &inputs,
            attributes: &attributes,
            cores: executor.cores(Load { running: 1, ready: 0 }),
            root_layers,
            build_dir: beside.join("build"),
            output_dir: beside.join("output"),
        })?;
        match place {
            EntryPlace::Failed(failed) => request.cores = recorded_cores(&failed.path).unwrap_or(request.cores),
            EntryPlace::Fresh => executor.write_build_files(&invocation, &request.build_dir)?,
        }
        // The visitor decides how long it takes and how much is printed.
        request.limits.timeout = None;
        request.limits.max_silent = None;
        request.limits.max_log_bytes = None;
        let with = |names: &[&str], from: &mut dyn Iterator<Item = &StorePath>| -> Vec<PathBuf> {
            let all = from.flat_map(|path| names.iter().map(move |name| (path, *name)));
            let there = all.filter(|(path, name)| store.physical_path(path).join(name).exists());
            there.map(|(path, name)| Path::new(&StoreModel::Native.print(path)).join(name)).collect()
        };
        Ok(Entry {
            shells: with(&["bin/bash", "bin/sh"], &mut inputs.mounted.keys()),
            programs: with(&["bin", "sbin"], &mut direct.iter().filter(|path| inputs.mounted.contains_key(*path))),
            sets_path: derivation.env.contains_key(b"PATH".as_slice()),
            token_form: super::local::jobserver_form(&attributes)?,
            request,
            executor,
            beside,
            _cache: cache,
            _failed: failed,
            _fresh: fresh,
        })
    }
}

/// Returns the number of cores that a failed build was asked to use, which its environment has.
fn recorded_cores(failed: &Path) -> Option<u32> {
    let request: Request = serde_json::from_slice(&fs::read(failed.join(REQUEST)).ok()?).ok()?;
    Some(request.cores)
}

/// The command of a visitor.
pub enum VisitorCommand {
    /// A shell that reads commands.
    Shell,
    /// One line for the shell.
    Line(OsString),
    /// A command that the shell looks up, so that it can be one of the build's functions.
    Words(Vec<OsString>),
    /// A program, without a shell.
    Program(Vec<OsString>),
}

impl Entry {
    /// Returns the functions of the build for a shell.
    pub fn functions(&self) -> BuildFunctions {
        BuildFunctions::of(&self.request.argv)
    }

    /// Returns a variable of the build's environment.
    pub fn variable(&self, name: &str) -> Option<&OsStr> {
        self.request.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_os_str())
    }

    /// Sets a variable of the environment.
    pub fn set_variable(&mut self, name: &str, value: OsString) {
        self.request.env.retain(|(known, _)| known != name);
        self.request.env.push((name.into(), value));
    }

    /// Puts the programs of the direct inputs on `PATH`, unless the derivation itself sets that.
    pub fn find_programs_of_inputs(&mut self) {
        if self.sets_path || self.programs.is_empty() {
            return;
        }
        let before = self.variable("PATH").map(OsStr::to_owned).unwrap_or_default();
        let mut path = OsString::new();
        for directory in &self.programs {
            path.push(directory);
            path.push(":");
        }
        path.push(before);
        self.set_variable("PATH", path);
    }

    /// Shows a directory of the host at the same path, writable, as the directory to start in.
    ///
    /// # Errors
    /// When the sandbox has something of its own there.
    pub fn show_directory(&mut self, directory: &Path) -> Result<(), BuildError> {
        const OWN: [&str; 7] = ["/build", "/dev", "/eval/store", "/output", "/proc", "/source", "/sys"];
        if let Some(own) = OWN.iter().find(|own| directory.starts_with(own) || Path::new(own).starts_with(directory)) {
            let problem =
                format!("`{}` cannot be shown in the sandbox, which has its own `{own}`", directory.display());
            return Err(attribute("the working directory", problem));
        }
        self.request.binds.push(Bind { host: directory.to_owned(), inside: directory.to_owned(), writable: true });
        self.request.working_dir = directory.to_owned();
        Ok(())
    }

    /// Runs a command inside, after `setup`, a text for its shell, and returns how it ended.
    ///
    /// # Errors
    /// When the sandbox cannot be set up, or has no such program.
    pub fn visit(
        &self,
        command: &VisitorCommand,
        setup: &str,
        terminal: Option<NewTerminal>,
        streams: &Streams,
    ) -> Result<Outcome, BuildError> {
        let mut request = self.request.clone();
        let mut commands = Vec::new();
        if let VisitorCommand::Program(words) = command {
            commands.extend(self.places(words));
        } else {
            commands.extend(self.shells().iter().map(|shell| shell_words(shell, command)));
        }
        let is_shell = matches!(command, VisitorCommand::Shell);
        // A shell that is not bash finds it by this variable, which it removes.
        let mut script = format!("exec {}<&-\n", Visit::SCRIPT_NUMBER);
        if is_shell {
            request.env.push(("ENV".into(), Visit::SCRIPT.into()));
            script.push_str("unset ENV\nunset HISTFILE\n");
        }
        script.push_str(setup);
        let fifo = self.beside.join(format!("jobserver-{}", std::process::id()));
        let served = self.executor.serve_tokens_at(self.token_form, &mut request, &fifo)?;
        let visit = Visit { request, commands, script: Some(script), terminal };
        let visited = self.executor.visit(&visit, streams);
        if served.is_some() {
            drop(served);
            // A collection removes it with the rest.
            let _ = fs::remove_file(&fifo);
        }
        Ok(visited?)
    }

    /// Returns the shells to try: the builder itself, those of the root, and those of inputs.
    fn shells(&self) -> Vec<PathBuf> {
        let builder = self.request.argv.first().map(PathBuf::from);
        let is_shell = |path: &PathBuf| {
            path.file_name().is_some_and(|name| ["bash", "sh", "dash", "ash"].iter().any(|shell| name == *shell))
        };
        let of_root = ["/bin/bash", "/usr/bin/bash", "/bin/sh", "/usr/bin/sh"].map(PathBuf::from);
        builder.into_iter().filter(is_shell).chain(of_root).chain(self.shells.iter().cloned()).collect()
    }

    /// Returns a program's command for each place in which it may be.
    fn places(&self, words: &[OsString]) -> Vec<Words> {
        let Some((name, arguments)) = words.split_first() else { return Vec::new() };
        let at = |program: PathBuf| Words([&[program.into_os_string()], arguments].concat());
        if name.as_bytes().contains(&b'/') {
            return vec![at(name.into())];
        }
        let path = self.variable("PATH").map(OsStr::to_owned).unwrap_or_default();
        std::env::split_paths(&path).map(|directory| at(directory.join(name))).collect()
    }
}

/// Returns the command that has a shell read the script, and then do as asked.
fn shell_words(shell: &Path, command: &VisitorCommand) -> Words {
    let is_bash = shell.file_name().is_some_and(|name| name == "bash");
    let mut words: Vec<OsString> = vec![shell.into()];
    let mut text = OsString::from(format!(". {}\n", Visit::SCRIPT));
    match command {
        VisitorCommand::Shell if is_bash => words.extend(["--rcfile", Visit::SCRIPT, "-i"].map(OsString::from)),
        VisitorCommand::Shell => words.push("-i".into()),
        VisitorCommand::Line(line) => {
            text.push(line);
            words.extend(["-c".into(), text, shell.into()]);
        }
        VisitorCommand::Words(arguments) | VisitorCommand::Program(arguments) => {
            text.push("\"$@\"");
            words.extend(["-c".into(), text, shell.into()]);
            words.extend(arguments.iter().cloned());
        }
    }
    Words(words)
}
