//! The command line: what can be typed, as one clap definition. Completions and man pages are made from it.
//!
//! Flags follow Nix's grammar where Nix has the thing. Each command lives in a file of its own, returns a
//! [`Failure`](crate::report::Failure) or nothing, and prints nothing but its result to standard output.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub mod build;
pub mod completions;
pub mod derivation;
pub mod doctor;
pub mod explain;
pub mod expr;
pub mod flake;
pub mod instantiate;
pub mod log;
pub mod nix_instantiate;
pub mod path_info;
pub mod prefix;
pub mod repl;
pub mod self_install;
pub mod store;

/// Describes packages, prefixes, stages and images in the Nix language, builds them in a sandbox from pinned sources
/// and delivers them.
#[derive(Debug, Parser)]
#[command(name = "eval", version, max_term_width = 110)]
#[command(
    after_help = "In a shell, `eval` is a builtin that runs its arguments: `eval build .#x` starts the program `build`.\n\
    That is this program too, as is `ev`; its command `self install` puts all three names on a PATH."
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub struct Global {
    /// Where the store lies on this machine [default: /eval if it can be written, else the user's data folder]
    #[arg(long, global = true, env = "EVAL_ROOT", value_name = "DIR", help_heading = "Global options")]
    pub root: Option<PathBuf>,
    /// When what is registered in the store reaches the disk
    #[arg(long, global = true, value_enum, default_value_t, env = "EVAL_DURABILITY", help_heading = "Global options")]
    pub durability: Durability,
    /// Show builds' output as it comes
    #[arg(short = 'L', long = "print-build-logs", global = true, help_heading = "Global options")]
    pub logs: bool,
    /// Print nothing but results and errors
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub quiet: bool,
    /// How progress is shown
    #[arg(long, global = true, value_enum, default_value_t, env = "EVAL_PROGRESS", help_heading = "Global options")]
    pub progress: ProgressStyle,
    /// When to use colour; `NO_COLOR` and `CLICOLOR_FORCE` are honoured
    #[arg(long, global = true, value_enum, default_value_t, help_heading = "Global options")]
    pub color: ColorChoice,
    /// Show every frame of an error's trace
    #[arg(long, global = true, help_heading = "Global options")]
    pub show_trace: bool,
    /// How errors are printed: for people, or as one JSON object a line for editors
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT", help_heading = "Global options")]
    pub error_format: ErrorFormat,
    /// The most memory for values while evaluating, such as `500M` or `4G` [default: nine tenths of what is free]
    #[arg(long, global = true, env = "EVAL_MAX_MEMORY", value_name = "SIZE", value_parser = crate::config::parse_size, help_heading = "Global options")]
    pub max_eval_memory: Option<usize>,
    /// Write where evaluation spends its time: stacks of calls with their milliseconds, as flame graph programs read them
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub eval_profile: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Durability {
    /// Before it is registered: a power cut loses nothing
    #[default]
    Full,
    /// When the kernel sees fit: a power cut may damage the store, `kill -9` does not. For stores that can be thrown away
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
    /// A live tree on a terminal, else one line an event
    #[default]
    Auto,
    Tree,
    Plain,
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
    /// Build what is named, and link the results as `./result`
    Build(build::Build),
    /// Evaluate an expression or a flake output and print its value
    #[command(alias = "eval")]
    Expr(expr::Expr),
    /// Write the store derivation of what is named and print its path
    Instantiate(instantiate::Instantiate),
    /// Do as Nix's command of this name: `--eval`, `--parse`, or print the paths of store derivations
    #[command(name = "nix-instantiate")]
    NixInstantiate(nix_instantiate::NixInstantiate),
    /// Write down what the inputs of a flake are: `flake.lock`
    #[command(subcommand)]
    Flake(flake::Flake),
    /// Look at store derivations
    #[command(subcommand)]
    Derivation(derivation::Derivation),
    /// Print the log of a build
    Log(log::Log),
    /// Print what the store knows of a path
    PathInfo(path_info::PathInfo),
    /// Add to, check and clean the store
    #[command(subcommand)]
    Store(store::Store),
    /// Deliver and check prefixes
    #[command(subcommand)]
    Prefix(prefix::Prefix),
    /// Say what this machine offers to builds, and what to do about what is missing
    Doctor(doctor::Doctor),
    /// Evaluate expressions as they are typed
    Repl(repl::Repl),
    /// Say what an error's code means
    Explain(explain::Explain),
    /// Print a completion script for a shell
    Completions(completions::Completions),
    /// Install this program itself
    #[command(name = "self", subcommand)]
    SelfCommand(self_install::SelfCommand),
}

/// What to evaluate: flake outputs by default, attributes of a file with `-f`, of an expression with `--expr`.
#[derive(Debug, Args, Clone, Default)]
pub struct Source {
    /// Take attributes from this file instead of a flake
    #[arg(short = 'f', long, value_name = "FILE", conflicts_with = "expr")]
    pub file: Option<PathBuf>,
    /// Take attributes from this expression instead of a flake
    #[arg(short = 'E', long, value_name = "EXPRESSION")]
    pub expr: Option<String>,
    /// Attribute to take from the file or expression (may be given several times)
    #[arg(short = 'A', long = "attr", value_name = "ATTR")]
    pub attr: Vec<String>,
    /// Pass an argument, an expression, to a function that the file or expression is
    #[arg(long, num_args = 2, value_names = ["NAME", "EXPRESSION"], action = clap::ArgAction::Append)]
    pub arg: Vec<String>,
    /// Pass an argument, a string, to a function that the file or expression is
    #[arg(long, num_args = 2, value_names = ["NAME", "STRING"], action = clap::ArgAction::Append)]
    pub argstr: Vec<String>,
    /// Add to the search path of `<name>`
    #[arg(short = 'I', long = "include", value_name = "[NAME=]PATH")]
    pub include: Vec<String>,
    /// Let the expression see the clock, the environment and any path
    #[arg(long, conflicts_with = "restrict")]
    pub impure: bool,
    /// Let the expression see only what the search path names, no environment, and fetch only from `--allowed-uris`
    #[arg(long, alias = "restrict-eval")]
    pub restrict: bool,
    /// With `--restrict`: URLs that may be fetched, with everything below them
    #[arg(long, value_name = "URL", num_args = 1, value_delimiter = ' ')]
    pub allowed_uris: Vec<String>,
    /// Evaluate, even if nothing that an earlier evaluation saw has changed
    #[arg(long)]
    pub no_eval_cache: bool,
    /// Threads to evaluate with; the result is the same with any number
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub eval_jobs: usize,
}

/// How builds are run.
#[derive(Debug, Args, Clone, Default)]
pub struct Building {
    /// Builds at a time [default: one a core]
    #[arg(short = 'j', long = "max-jobs", value_name = "N", env = "EVAL_JOBS")]
    pub jobs: Option<usize>,
    /// Cores one build may use [default: its share of the machine and half as much again]
    #[arg(long, value_name = "N", env = "EVAL_CORES")]
    pub cores: Option<usize>,
    /// Go on with what does not depend on a failed build
    #[arg(short, long)]
    pub keep_going: bool,
    /// Build what is named first before what is named later, instead of what takes longest
    #[arg(long)]
    pub in_order: bool,
    /// Keep the folder of a failed build
    #[arg(short = 'K', long)]
    pub keep_failed: bool,
    /// End a build that runs longer than this, in seconds
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
    /// End a build that prints nothing for longer than this, in seconds
    #[arg(long, value_name = "SECONDS")]
    pub max_silent_time: Option<u64>,
    /// Most memory of one build in MiB, 0 for no limit [default: nine tenths of what the machine or its control group has]
    #[arg(long, value_name = "MIB")]
    pub max_memory: Option<u64>,
    /// Most processes and threads of one build at a time, 0 for no limit [default: 16384]
    #[arg(long, value_name = "N")]
    pub max_processes: Option<u64>,
    /// Run builds at a lower priority, by this many steps
    #[arg(long, value_name = "STEPS", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=19))]
    pub nice: u8,
    /// `relaxed` goes on without the second walls (Landlock, seccomp) where the kernel lacks them, and says so
    #[arg(long, value_enum, default_value_t)]
    pub sandbox: SandboxChoice,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum SandboxChoice {
    #[default]
    Strict,
    Relaxed,
}
