//! Conversion of flags to the plain settings of the libraries.

use super::{Building, Durability, ErrorFormat, Evaluation, Global, ProgressStyle, SandboxChoice, Source};
use crate::progress::{Display, Style};
use crate::report::Failure;
use std::io::{Read, stdin};
use std::path::Path;
use std::time::Duration;
use workspace::settings::TextOrigin;
use workspace::{Access, Argument, Environment, EvalSettings, ExpressionSource, Settings, StoreSettings};

/// The directories of failed builds that are kept for `shell --failed` without being asked for.
const KEEP_LATEST_FAILED: builder::FailedBounds = builder::FailedBounds { count: 4, bytes: 2 << 30 };

impl Global {
    /// Returns the settings of a session.
    ///
    /// # Errors
    /// When the working directory is gone, no directory for a store is known, or standard input
    /// cannot be read.
    pub fn settings(&self, evaluation: &Evaluation) -> Result<Settings, Failure> {
        let environment = self.environment();
        let directory = std::env::current_dir()
            .map_err(|cause| Failure::io("cannot determine", Path::new("the working directory"), cause))?;
        let evaluation_settings = EvalSettings {
            memory_max_bytes: self.max_eval_memory.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
            profile: self.eval_profile.is_some(),
            refresh: evaluation.source.locking.refresh,
            warn_dirty: !(evaluation.source.no_warn_dirty
                || self.quiet
                || matches!(environment.text("EVAL_WARN_DIRTY"), Some("0" | "false" | "no"))),
            ..evaluation.source.settings()?
        };
        let locking = &evaluation.source.locking;
        Ok(Settings {
            locks: locking.locks(&directory)?,
            registry: locking.registry(&directory),
            offline: locking.is_offline(),
            directory,
            store: self.store_settings_in(&environment)?,
            environment,
            program: std::env::current_exe().ok(),
            evaluation: evaluation_settings,
            building: evaluation.building.options(),
        })
    }

    /// Returns the settings of the store: `--root` or `$EVAL_ROOT`, else the default root.
    ///
    /// # Errors
    /// When no directory for a store is known.
    pub fn store_settings(&self) -> Result<StoreSettings, Failure> {
        self.store_settings_in(&self.environment())
    }

    /// Returns the environment of this process, with the mirrors of the settings.
    pub fn environment(&self) -> Environment {
        let mut environment = environment();
        if !self.mirrors.is_empty() {
            environment.set("EVAL_MIRRORS", self.mirrors.join(" "));
        }
        environment
    }

    fn store_settings_in(&self, environment: &Environment) -> Result<StoreSettings, Failure> {
        let root = match &self.root {
            Some(root) => {
                std::path::absolute(root).map_err(|cause| Failure::io("cannot make absolute", root, cause))?
            }
            None => environment.store_root()?,
        };
        let durability = match self.durability {
            Durability::Full => store::Durability::Full,
            Durability::Relaxed => store::Durability::Relaxed,
        };
        Ok(StoreSettings { root, durability })
    }

    /// Returns the way progress is shown.
    pub fn display(&self) -> Display {
        let style = match self.progress {
            _ if self.quiet => Style::None,
            ProgressStyle::Auto => Style::Auto,
            ProgressStyle::Tree => Style::Tree,
            ProgressStyle::Plain => Style::Plain,
            ProgressStyle::Github => Style::Github,
            ProgressStyle::Gitlab => Style::Gitlab,
            ProgressStyle::None => Style::None,
        };
        let json_errors = self.error_format == ErrorFormat::Json;
        Display { style, logs: self.logs || self.verbose, json_errors, waits_at_failure: false, slots: cores() }
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Returns the environment of this process.
pub fn environment() -> Environment {
    Environment::new(std::env::vars_os())
}

impl Source {
    fn settings(&self) -> Result<EvalSettings, Failure> {
        let source = match (&self.file, &self.expr) {
            (Some(file), _) if file.as_os_str() == "-" => {
                let mut text = Vec::new();
                stdin()
                    .read_to_end(&mut text)
                    .map_err(|cause| Failure::io("cannot read", Path::new("standard input"), cause))?;
                ExpressionSource::Text { text, origin: TextOrigin::StandardInput }
            }
            (Some(file), _) => ExpressionSource::File(file.clone()),
            (None, Some(text)) => {
                ExpressionSource::Text { text: text.clone().into_bytes(), origin: TextOrigin::CommandLine }
            }
            (None, None) => ExpressionSource::Flake,
        };
        let expressions = self.arg.chunks_exact(2).map(|pair| (pair[0].clone(), Argument::Expression(pair[1].clone())));
        let texts = self.argstr.chunks_exact(2).map(|pair| (pair[0].clone(), Argument::Text(pair[1].clone())));
        let access = match (self.impure, self.restrict) {
            (true, _) => Access::Impure,
            (_, true) => Access::Restricted { uris: self.allowed_uris.clone() },
            // As in Nix: a file is where it is, and so are the files that it names.
            _ if self.file.is_some() && !self.pure => Access::Impure,
            _ => Access::Pure,
        };
        Ok(EvalSettings {
            source,
            attributes: self.attr.clone(),
            arguments: expressions.chain(texts).collect(),
            search_path: self.include.clone(),
            access,
            // Zero is what a command without this flag has.
            jobs: self.eval_jobs.max(1),
            system: self.system.clone(),
            use_caches: !self.no_eval_cache,
            ..EvalSettings::default()
        })
    }
}

impl Building {
    /// Returns the way progress of builds with these options is shown.
    pub fn display(&self, display: Display) -> Display {
        let slots = self.jobs.filter(|&jobs| jobs > 0).unwrap_or_else(cores);
        Display { waits_at_failure: !self.keep_going && !self.fail_fast, slots, ..display }
    }

    /// Returns the builder's options.
    pub fn options(&self) -> builder::Options {
        let defaults = builder::Options::default();
        // Zero lifts a limit.
        let limit = |given: Option<u64>, default| match given {
            None => default,
            given => given.filter(|&count| count > 0),
        };
        builder::Options {
            memory_max_bytes: limit(self.max_memory, defaults.memory_max_bytes),
            processes_max: limit(self.max_processes, defaults.processes_max),
            niceness: self.nice,
            jobs: self.jobs.unwrap_or(0),
            cores: self.cores.unwrap_or(0),
            keep_going: self.keep_going,
            fail_fast: self.fail_fast,
            in_order: self.in_order,
            keep_failed: self.keep_failed,
            keep_latest_failed: KEEP_LATEST_FAILED,
            timeout: self.timeout.map(Duration::from_secs),
            max_silent: self.max_silent_time.map(Duration::from_secs),
            sandbox_mode: match self.sandbox {
                SandboxChoice::Strict => sandbox::request::SandboxMode::Strict,
                SandboxChoice::Relaxed => sandbox::request::SandboxMode::Relaxed,
            },
            ..defaults
        }
    }
}
