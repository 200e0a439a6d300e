//! Nix's settings that change the result of an evaluation, from `nix.conf`, `$NIX_CONFIG` and the
//! command line. Settings about builds and the network are accepted without effect.

use lang::host::Features;
use lang::syntax::{LintLevel, Lints};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub show_trace: bool,
    pub pure_eval: bool,
    pub restrict_eval: bool,
    pub allowed_uris: Vec<String>,
    pub trace_verbose: bool,
    pub abort_on_warn: bool,
    pub max_call_depth: Option<u32>,
    /// Threads to evaluate with; 0 is one for each core.
    pub eval_jobs: Option<usize>,
    /// Do not use the caches of earlier evaluations.
    pub no_eval_cache: bool,
    pub no_warn_dirty: bool,
    pub system: Option<String>,
    pub nix_path: Option<String>,
    pub lints: Lints,
    native_code: bool,
    features: Vec<String>,
}

/// Settings that are on or off, and as flags take no word.
const SWITCHES: &[&str] = &[
    "show-trace",
    "pure-eval",
    "trace-verbose",
    "abort-on-warn",
    "debugger-on-warn",
    "debugger-on-trace",
    "restrict-eval",
    "allow-import-from-derivation",
    "allow-unsafe-native-code-during-evaluation",
    "trace-import-from-derivation",
    "trace-function-calls",
    "sandbox",
    "substitute",
    "use-substitutes",
    "keep-derivations",
    "keep-outputs",
    "accept-flake-config",
    "use-xdg-base-directories",
    "warn-dirty",
    "allow-dirty",
    "eval-cache",
    "print-missing",
];

/// Settings with a value.
const VALUES: &[&str] = &[
    "experimental-features",
    "extra-experimental-features",
    "max-call-depth",
    "lint-url-literals",
    "lint-short-path-literals",
    "lint-absolute-path-literals",
    "system",
    "eval-system",
    "nix-path",
    "extra-nix-path",
    "allowed-uris",
    "substituters",
    "extra-substituters",
    "trusted-public-keys",
    "builders",
    "tarball-ttl",
    "flake-registry",
    "eval-profiler",
    "eval-profile-file",
    "eval-profiler-frequency",
    "eval-cores",
    "eval-jobs",
];

impl Settings {
    pub fn is_switch(name: &str) -> bool {
        SWITCHES.contains(&name)
    }

    pub fn is_known(name: &str) -> bool {
        VALUES.contains(&name)
    }

    pub fn feature(&self, name: &str) -> bool {
        self.features.iter().any(|feature| feature == name)
    }

    pub fn features(&self) -> Features {
        let on = |name| self.feature(name);
        Features {
            flakes: on("flakes"),
            fetch_tree: on("fetch-tree"),
            fetch_closure: on("fetch-closure"),
            dynamic_derivations: on("dynamic-derivations"),
            ca_derivations: on("ca-derivations"),
            impure_derivations: on("impure-derivations"),
            blake3_hashes: on("blake3-hashes"),
            native_code: self.native_code,
        }
    }

    /// Reads the files of machine and user, and `$NIX_CONFIG`.
    ///
    /// # Errors
    /// When the value of a setting is not valid.
    pub fn from_environment() -> Result<Settings, String> {
        let mut settings = Settings::default();
        let variable = |name: &str| std::env::var(name).ok();
        let system = variable("NIX_CONF_DIR").map_or(PathBuf::from("/etc/nix"), PathBuf::from).join("nix.conf");
        let mut files = vec![system];
        match variable("NIX_USER_CONF_FILES") {
            Some(list) => files.extend(list.split(':').filter(|file| !file.is_empty()).map(PathBuf::from)),
            None => {
                let home = variable("XDG_CONFIG_HOME")
                    .map(PathBuf::from)
                    .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".config")));
                files.extend(home.map(|home| home.join("nix/nix.conf")));
            }
        }
        for file in files {
            settings.read(&std::fs::read_to_string(&file).unwrap_or_default(), file.parent())?;
        }
        settings.read(&variable("NIX_CONFIG").unwrap_or_default(), None)?;
        if variable("NIX_ABORT_ON_WARN").is_some_and(|value| !matches!(&*value, "" | "0" | "no" | "false")) {
            settings.abort_on_warn = true;
        }
        Ok(settings)
    }

    /// Lines `name = value`, comments after `#`, `include FILE` and `!include FILE`.
    fn read(&mut self, text: &str, directory: Option<&Path>) -> Result<(), String> {
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            let included = line.strip_prefix("include ").or_else(|| line.strip_prefix("!include "));
            if let (Some(name), Some(directory)) = (included, directory) {
                let file = directory.join(name.trim());
                let text = std::fs::read_to_string(&file);
                match text {
                    // One level only, because a file may include itself.
                    Ok(text) => self.read(&text, None)?,
                    Err(cause) if line.starts_with("include") => {
                        return Err(format!("cannot read '{}': {cause}", file.display()));
                    }
                    Err(_) => {}
                }
            } else if let Some((name, value)) = line.split_once('=') {
                self.set(name.trim(), value.trim())?;
            }
        }
        Ok(())
    }

    /// Changes one setting; those without an effect here are ignored.
    ///
    /// # Errors
    /// When the value is not valid.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let switch = || match value {
            "true" | "yes" | "1" => Ok(true),
            "false" | "no" | "0" => Ok(false),
            _ => Err(format!("Boolean setting '{name}' has invalid value '{value}'")),
        };
        let lint = || match value {
            "ignore" => Ok(LintLevel::Ignore),
            "warn" => Ok(LintLevel::Warn),
            "fatal" => Ok(LintLevel::Fatal),
            _ => Err(format!("setting '{name}' has invalid value '{value}': it is ignore, warn or fatal")),
        };
        match name {
            "show-trace" => self.show_trace = switch()?,
            "pure-eval" => self.pure_eval = switch()?,
            "restrict-eval" => self.restrict_eval = switch()?,
            "allowed-uris" => self.allowed_uris = value.split_whitespace().map(str::to_owned).collect(),
            "allow-unsafe-native-code-during-evaluation" => self.native_code = switch()?,
            "trace-verbose" => self.trace_verbose = switch()?,
            "abort-on-warn" => self.abort_on_warn = switch()?,
            "max-call-depth" => {
                let depth = value.parse().map_err(|_| format!("setting '{name}' has invalid value '{value}'"))?;
                self.max_call_depth = Some(depth);
            }
            "eval-cache" => self.no_eval_cache = !switch()?,
            "warn-dirty" => self.no_warn_dirty = !switch()?,
            "eval-cores" | "eval-jobs" => {
                let jobs = value.parse().map_err(|_| format!("setting '{name}' has invalid value '{value}'"))?;
                self.eval_jobs = Some(jobs);
            }
            "system" | "eval-system" if !value.is_empty() => self.system = Some(value.to_owned()),
            "nix-path" => self.nix_path = Some(value.to_owned()),
            "lint-url-literals" => self.lints.url_literals = lint()?,
            "lint-short-path-literals" => self.lints.short_path_literals = lint()?,
            "lint-absolute-path-literals" => self.lints.absolute_path_literals = lint()?,
            "experimental-features" => self.features = value.split_whitespace().map(str::to_owned).collect(),
            "extra-experimental-features" => self.features.extend(value.split_whitespace().map(str::to_owned)),
            _ => {}
        }
        Ok(())
    }
}
