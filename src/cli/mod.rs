//! The command line as one clap definition, from which completions are made too.
//!
//! Flags follow Nix's grammar where Nix has the same thing. Each subcommand has a file of its own,
//! returns a [`Failure`](crate::report::Failure) or nothing, and prints only its result to standard
//! output. `settings` converts the flags to the plain settings of the libraries; no other module
//! sees them.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

pub mod build;
pub mod completions;
pub mod config;
pub mod derivation;
pub mod develop;
pub mod doctor;
pub mod edit;
pub mod explain;
pub mod expr;
pub mod flake;
pub mod fmt;
pub mod hash;
pub mod help;
pub mod instantiate;
pub mod locking;
pub mod log;
pub mod mistakes;
pub mod nix_instantiate;
pub mod path_info;
pub mod prefix;
pub mod registry;
pub mod repl;
pub mod run;
pub mod search;
pub mod self_install;
pub mod shell;
pub mod store;
pub mod why_depends;

mod enter;
mod session;
mod settings;
mod sizes;

/// Describe packages, prefixes, stages and images in the Nix language, build them in a sandbox from
/// pinned sources, and deliver them.
#[derive(Debug, Parser)]
#[command(name = "eval", bin_name = "ev", version, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command. `help` leaves them out of short help.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Directory of the store [default: /eval if it is writable, else `eval` in the user's data
    /// directory]
    #[arg(long, visible_alias = "store", global = true, env = "EVAL_ROOT", value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// True when `--root` is an option of the command, and not a setting.
    #[arg(skip)]
    pub root_is_option: bool,
    /// Choose when registered paths reach the disk
    #[arg(long, global = true, value_enum, default_value_t, env = "EVAL_DURABILITY")]
    pub durability: Durability,
    /// Fetch `mirror://NAME/…` from this URL, before the mirrors of the machine (can be given
    /// several times) [default: those of the machine]
    #[arg(long, global = true, env = "EVAL_MIRRORS", value_name = "NAME=URL", value_delimiter = ' ')]
    pub mirrors: Vec<String>,
    /// Print the output of builds as it arrives
    #[arg(short = 'L', long = "print-build-logs", global = true, env = "EVAL_PRINT_BUILD_LOGS", value_parser = flag())]
    pub logs: bool,
    /// Print more: the output of builds, and whole traces
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Print only results and errors
    #[arg(short, long, global = true, env = "EVAL_QUIET", value_parser = flag())]
    pub quiet: bool,
    /// Choose how progress is shown
    #[arg(long, global = true, value_enum, default_value_t, env = "EVAL_PROGRESS")]
    pub progress: ProgressStyle,
    /// Choose when to use colour; `NO_COLOR` and `CLICOLOR_FORCE` are respected
    #[arg(long, global = true, value_enum, default_value_t, env = "EVAL_COLOR")]
    pub color: ColorChoice,
    /// Show every frame of an error's trace
    #[arg(long, global = true, env = "EVAL_SHOW_TRACE", value_parser = flag())]
    pub show_trace: bool,
    /// Choose the format of errors: text, or one JSON object per line for editors
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT", env = "EVAL_ERROR_FORMAT")]
    pub error_format: ErrorFormat,
    /// Limit the memory for values while evaluating, such as `500M` or `4G` [default: nine tenths
    /// of the free memory]
    #[arg(long, global = true, env = "EVAL_MAX_EVAL_MEMORY", value_name = "SIZE", value_parser = sizes::parse)]
    pub max_eval_memory: Option<u64>,
    /// Write a profile of the evaluation: stacks of calls with their milliseconds, as flame graph
    /// programs read them
    #[arg(long, global = true, value_name = "FILE")]
    pub eval_profile: Option<PathBuf>,
    /// Set a setting by its name, or by Nix's name for it (`ev config show` lists them)
    #[arg(long, global = true, num_args = 2, value_names = ["NAME", "VALUE"], action = clap::ArgAction::Append)]
    pub option: Vec<String>,
}

/// Returns the parser of a flag's variable and of its line in the configuration.
fn flag() -> clap::builder::BoolishValueParser {
    clap::builder::BoolishValueParser::new()
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Durability {
    /// Sync paths before they are registered: a power cut loses nothing
    #[default]
    Full,
    /// Leave syncing to the kernel: a power cut may damage the store, `kill -9` does not. For
    /// disposable stores
    Relaxed,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ErrorFormat {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ProgressStyle {
    /// Draw a live tree on a terminal, else print a line for each event
    #[default]
    Auto,
    Tree,
    Plain,
    /// Print lines, and logs as groups that GitHub's page folds
    Github,
    /// Print lines, and logs as sections that GitLab's page folds
    Gitlab,
    None,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build packages, and link the results as `./result`
    Build(build::Build),
    /// Run a program of an app or a package
    Run(run::Run),
    /// Start a shell with packages, or in the sandbox of a failed build
    Shell(shell::Shell),
    /// Start a shell in the sandbox in which a package is built
    Develop(develop::Develop),
    /// Evaluate an expression or a flake output and print its value
    #[command(alias = "eval")]
    Expr(expr::Expr),
    /// Write store derivations, and print their paths
    Instantiate(instantiate::Instantiate),
    /// Evaluate, parse or instantiate expressions, with the arguments and the output of Nix's
    /// command
    #[command(name = "nix-instantiate")]
    NixInstantiate(nix_instantiate::NixInstantiate),
    /// Show, check, start and lock flakes
    #[command(subcommand)]
    Flake(flake::Flake),
    /// Name flakes, as `nixpkgs` in `nixpkgs#hello`
    #[command(subcommand)]
    Registry(registry::RegistryCommand),
    /// Inspect store derivations
    #[command(subcommand)]
    Derivation(derivation::Derivation),
    /// Print the log of a build
    Log(log::Log),
    /// Print the store's records of paths
    PathInfo(path_info::PathInfo),
    /// Show why a path needs another
    WhyDepends(why_depends::WhyDepends),
    /// Delete everything that no link, profile or running build needs
    Gc(store::gc::Gc),
    /// Print hashes, and convert them between their forms
    #[command(subcommand)]
    Hash(hash::Hash),
    /// Find packages of a flake by name and description
    Search(search::Search),
    /// Open the definition of a package in `$EDITOR`
    Edit(edit::Edit),
    /// Format Nix files as RFC 166 says
    Fmt(fmt::Fmt),
    /// Add to, verify and clean the store
    #[command(subcommand)]
    Store(store::Store),
    /// Install and check prefixes
    #[command(subcommand)]
    Prefix(prefix::Prefix),
    /// Check whether this machine can run builds, and print remedies
    Doctor(doctor::Doctor),
    /// Evaluate expressions interactively
    Repl(repl::Repl),
    /// Show settings and where they are from
    #[command(subcommand)]
    Config(config::Config),
    /// Explain an error code
    Explain(explain::Explain),
    /// Print a completion script for a shell
    Completions(completions::Completions),
    /// Manage this program itself
    #[command(name = "self", subcommand)]
    SelfCommand(self_install::SelfCommand),
}

/// Arguments that name things to build or to inspect.
#[derive(Debug, Args, Clone, Default)]
pub struct Installables {
    /// Flake output `.#attr` or `.#attr^output`, `.drv`, store path or result link; an attribute
    /// with `-f` or `--expr` [default: .]
    #[arg(value_name = "INSTALLABLE")]
    names: Vec<String>,
    #[command(flatten)]
    pub evaluation: Evaluation,
}

impl Installables {
    /// Returns whether they are attributes of a file or an expression.
    pub fn have_source(&self) -> bool {
        self.evaluation.source.file.is_some() || self.evaluation.source.expr.is_some()
    }

    /// Returns whether there are any.
    pub fn are_given(&self) -> bool {
        !self.names.is_empty()
    }

    /// Returns the names; `.` when there are none.
    pub fn names(&self) -> Vec<String> {
        if self.names.is_empty() { vec![".".to_owned()] } else { self.names.clone() }
    }
}

/// Flags of the commands that evaluate. Those that build no target of their own still have the
/// options of builds, for what an evaluation waits for; `help` hides them there.
#[derive(Debug, Args, Clone, Default)]
pub struct Evaluation {
    #[command(flatten)]
    pub source: Source,
    #[command(flatten)]
    pub building: Building,
}

/// Source of expressions: flake outputs by default, attributes of a file with `-f`, of an
/// expression with `--expr`.
#[derive(Debug, Args, Clone, Default)]
#[command(next_help_heading = "Evaluation options")]
pub struct Source {
    /// Take attributes from this file instead of a flake; `-` is standard input
    #[arg(short = 'f', long, value_name = "FILE", conflicts_with = "expr")]
    pub file: Option<PathBuf>,
    /// Take attributes from this expression instead of a flake
    #[arg(short = 'E', long, value_name = "EXPRESSION")]
    pub expr: Option<String>,
    /// Take this attribute of the file or expression (can be given several times)
    #[arg(short = 'A', long = "attr", value_name = "ATTR", hide_short_help = true)]
    pub attr: Vec<String>,
    /// Pass an expression as an argument, when the file or expression is a function
    #[arg(long, num_args = 2, value_names = ["NAME", "EXPRESSION"], action = clap::ArgAction::Append)]
    pub arg: Vec<String>,
    /// Pass a string as an argument, when the file or expression is a function
    #[arg(long, num_args = 2, value_names = ["NAME", "STRING"], action = clap::ArgAction::Append, hide_short_help = true)]
    pub argstr: Vec<String>,
    /// Add an entry to the search path of `<name>`
    #[arg(short = 'I', long = "include", value_name = "[NAME=]PATH")]
    pub include: Vec<String>,
    /// Give the expression access to the clock, the environment and every path [default with `-f`]
    #[arg(long, conflicts_with = "restrict")]
    pub impure: bool,
    /// Give the expression of `-f` no such access
    #[arg(long, alias = "pure-eval", conflicts_with = "impure", hide_short_help = true)]
    pub pure: bool,
    /// Give the expression access to the search path and `--allowed-uris` only, and to no
    /// environment
    #[arg(long, alias = "restrict-eval", hide_short_help = true)]
    pub restrict: bool,
    /// With `--restrict`: allow fetching this URL and everything below it
    #[arg(long, value_name = "URL", num_args = 1, value_delimiter = ' ', hide_short_help = true)]
    pub allowed_uris: Vec<String>,
    /// Ignore the evaluation cache
    #[arg(long, hide_short_help = true, env = "EVAL_NO_EVAL_CACHE", value_parser = flag())]
    pub no_eval_cache: bool,
    /// Do not warn about files of Git trees that are changed or not tracked (`EVAL_WARN_DIRTY=0`
    /// does the same)
    #[arg(long, hide_short_help = true, env = "EVAL_NO_WARN_DIRTY", value_parser = flag())]
    pub no_warn_dirty: bool,
    /// Take this system for `builtins.currentSystem` and the outputs of flakes [default: that of
    /// this machine]
    #[arg(long, value_name = "SYSTEM", hide_short_help = true, env = "EVAL_SYSTEM")]
    pub system: Option<String>,
    /// Evaluate with this many threads; the result does not depend on their number
    #[arg(long, value_name = "N", default_value_t = 1, hide_short_help = true, env = "EVAL_EVAL_JOBS")]
    pub eval_jobs: usize,
    #[command(flatten)]
    pub locking: locking::Locking,
}

/// Limits and priorities of builds.
#[derive(Debug, Args, Clone, Default)]
#[command(next_help_heading = "Build options")]
pub struct Building {
    /// Run this many builds at a time, `auto` for one per core [default: auto]
    #[arg(short = 'j', long = "jobs", alias = "max-jobs", value_name = "N", env = "EVAL_JOBS", value_parser = sizes::jobs)]
    pub jobs: Option<usize>,
    /// Limit the cores of one build [default: one and a half times its share of the machine]
    #[arg(long, value_name = "N", hide_short_help = true, env = "EVAL_CORES")]
    pub cores: Option<usize>,
    /// Continue with everything that does not depend on a failed build
    #[arg(short, long, env = "EVAL_KEEP_GOING", value_parser = flag())]
    pub keep_going: bool,
    /// Stop everything that runs at the first failure, instead of letting it end
    #[arg(long, hide_short_help = true, conflicts_with = "keep_going")]
    pub fail_fast: bool,
    /// Build arguments in their order, instead of the longest path first
    #[arg(long, hide_short_help = true)]
    pub in_order: bool,
    /// Keep the directories of all failed builds, and not only those of the latest
    #[arg(short = 'K', long, env = "EVAL_KEEP_FAILED", value_parser = flag())]
    pub keep_failed: bool,
    /// Stop a build that runs longer than this
    #[arg(long, value_name = "SECONDS", hide_short_help = true, env = "EVAL_TIMEOUT")]
    pub timeout: Option<u64>,
    /// Stop a build that prints nothing for longer than this
    #[arg(long, value_name = "SECONDS", hide_short_help = true, env = "EVAL_MAX_SILENT_TIME")]
    pub max_silent_time: Option<u64>,
    /// Limit the memory of one build, such as `4G`; 0 for no limit [default: nine tenths of that of
    /// the machine or control group]
    #[arg(long, value_name = "SIZE", hide_short_help = true, env = "EVAL_MAX_MEMORY", value_parser = sizes::build_memory)]
    pub max_memory: Option<u64>,
    /// Limit the processes and threads of one build, 0 for no limit [default: 16384]
    #[arg(long, value_name = "N", hide_short_help = true, env = "EVAL_MAX_PROCESSES")]
    pub max_processes: Option<u64>,
    /// Lower the priority of builds by this many steps
    #[arg(long, value_name = "STEPS", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=19), hide_short_help = true, env = "EVAL_NICE")]
    pub nice: u8,
    /// Choose whether builds may run without Landlock and seccomp where the kernel lacks them;
    /// `relaxed` warns
    #[arg(long, value_enum, default_value_t, hide_short_help = true, env = "EVAL_SANDBOX")]
    pub sandbox: SandboxChoice,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum SandboxChoice {
    #[default]
    Strict,
    Relaxed,
}
