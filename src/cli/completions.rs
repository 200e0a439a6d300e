//! `completions SHELL`: scripts by which shells ask this program for completions, and its answers.
//!
//! A shell runs the program with [`VARIABLE`] set and the words so far. Attributes are completed
//! by evaluating: without builds, without a network, for at most [`ANSWER_TIME_MAX`], and from the
//! cache of evaluations while no file has changed.

use crate::print;
use crate::report::Failure;
use builder::Silent;
use clap::{Arg, Args, Command, ValueEnum};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter};
use clap_complete::env::Shells;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use workspace::installable::{FlakeAttr, Installable, Outputs};
use workspace::registry::RegistrySettings;
use workspace::settings::{LockMode, LockSettings, TextOrigin};
use workspace::{Access, EvalSettings, ExpressionSource, Hooks, Session, Settings, StoreSettings};

/// Variable that asks for completions, and names the shell.
const VARIABLE: &str = "EVAL_COMPLETE";

/// Time after which a shell gets no attributes: it waits for the answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);

/// All names of the program.
const NAMES: [&str; 3] = ["ev", "build", "eval"];

#[derive(Debug, Args)]
pub struct Completions {
    /// Shell that the script is for
    pub shell: Shell,
    /// Name to complete [default: `ev`, `build` and `eval`]
    #[arg(long)]
    pub name: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    Bash,
    Elvish,
    Fish,
    /// Commands and options, without attributes
    Nushell,
    Powershell,
    Zsh,
}

impl Completions {
    pub fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        let names = match &self.name {
            Some(name) => vec![name.as_str()],
            None => NAMES.to_vec(),
        };
        if self.shell == Shell::Nushell {
            // The answers of this program have no form for it yet.
            let name = self.name.as_deref().unwrap_or(NAMES[0]);
            clap_complete::generate(clap_complete_nushell::Nushell, &mut super::help::command(), name, &mut script);
            return print::bytes(&script);
        }
        let program = std::env::current_exe().map_err(|cause| {
            Failure::io("cannot determine the path of this program:", Path::new("/proc/self/exe"), cause)
        })?;
        let shell = self.shell.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let shells = Shells::builtins();
        let shell = shells.completer(&shell).expect("the crate knows all of these shells");
        for name in names {
            shell
                .write_registration(VARIABLE, name, name, &program.to_string_lossy(), &mut script)
                .map_err(|cause| Failure::io("cannot write", Path::new("the script"), cause))?;
        }
        print::bytes(&script)
    }
}

/// Answers a shell, and returns true, when one asks for completions. Must run before the process
/// has threads.
pub fn answer() -> bool {
    if std::env::var_os(VARIABLE).is_none() {
        return false;
    }
    let directory = std::env::current_dir().ok();
    let asked = CompleteEnv::with_factory(asked_command).var(VARIABLE);
    // A shell has no use for an error.
    asked.try_complete(std::env::args_os(), directory.as_deref()).unwrap_or(true)
}

/// Returns the words that a shell asks about.
fn words() -> Vec<OsString> {
    std::env::args_os().skip_while(|word| word != "--").skip(1).collect()
}

/// Returns the command that is completed: under the name `build`, that is `ev build`.
fn asked_command() -> Command {
    let command = super::help::command();
    let called_build = words().first().and_then(|name| Path::new(name).file_name()).is_some_and(|name| name == "build");
    if !called_build {
        return command;
    }
    let global: Vec<Arg> = command.get_arguments().filter(|arg| arg.is_global_set()).cloned().collect();
    command.find_subcommand("build").cloned().expect("there is a command `build`").args(global)
}

/// Returns the completer of installables.
pub fn installables() -> ArgValueCompleter {
    ArgValueCompleter::new(complete_installable)
}

fn complete_installable(current: &OsStr) -> Vec<CompletionCandidate> {
    let source = source_of(&words());
    let text = current.to_string_lossy();
    let is_flake = source == ExpressionSource::Flake;
    let Some((head, attr)) = (if is_flake { text.split_once('#') } else { Some(("", &*text)) }) else {
        let mut found = PathCompleter::any().complete(current);
        if matches!(&*text, "" | ".") && Path::new("flake.nix").exists() {
            found.insert(0, CompletionCandidate::new(".#"));
        }
        return found;
    };
    let (parent, start) = attr.rsplit_once('.').unwrap_or(("", attr));
    let before = match (is_flake, attr.len() > start.len()) {
        (true, true) => format!("{head}#{parent}."),
        (true, false) => format!("{head}#"),
        (false, true) => format!("{parent}."),
        (false, false) => String::new(),
    };
    let names = names(source, head, parent).unwrap_or_default();
    let names = names.into_iter().filter(|name| name.starts_with(start));
    names.map(|name| CompletionCandidate::new(format!("{before}{name}"))).collect()
}

/// Returns the source that the options among the words name.
fn source_of(words: &[OsString]) -> ExpressionSource {
    for pair in words.windows(2) {
        match pair[0].to_str() {
            Some("-f" | "--file") => return ExpressionSource::File(PathBuf::from(&pair[1])),
            Some("-E" | "--expr") => {
                let text = pair[1].to_string_lossy().into_owned().into_bytes();
                return ExpressionSource::Text { text, origin: TextOrigin::CommandLine };
            }
            _ => {}
        }
    }
    ExpressionSource::Flake
}

/// Returns the names below an attribute path.
fn names(source: ExpressionSource, reference: &str, parent: &str) -> Option<Vec<String>> {
    let environment = super::settings::environment();
    let root = match environment.variable("EVAL_ROOT") {
        Some(root) => std::path::absolute(root).ok()?,
        None => environment.store_root().ok()?,
    };
    // A question makes no store.
    if !root.join("store").is_dir() {
        return None;
    }
    let directory = std::env::current_dir().ok()?;
    let is_flake = source == ExpressionSource::Flake;
    let settings = Settings {
        directory: directory.clone(),
        environment,
        program: std::env::current_exe().ok(),
        store: StoreSettings { root, durability: store::Durability::Relaxed },
        evaluation: EvalSettings {
            access: if is_flake { Access::Pure } else { Access::Impure },
            source,
            // Nothing is built or written with Nix's store model.
            store_model: model::StoreModel::Nix,
            ..EvalSettings::default()
        },
        locks: LockSettings { mode: LockMode::Memory, ..LockSettings::default() },
        registry: RegistrySettings::default(),
        offline: true,
        building: builder::Options::default(),
    };
    std::thread::spawn(|| {
        std::thread::sleep(ANSWER_TIME_MAX);
        signal_hook::low_level::exit(0);
    });
    let hooks = Hooks { events: Arc::new(Silent), ..Hooks::silent() };
    let session = Session::open(settings, &hooks).ok()?;
    let installable = match is_flake {
        false => Installable::Attr { path: parent.to_owned(), outputs: Outputs::Default },
        true => match Installable::parse(&format!("{reference}#"), false, &directory).ok()? {
            Installable::Flake { reference, outputs, .. } => {
                let attr = FlakeAttr::parse(parent).ok()?;
                Installable::Flake { reference, attr, outputs }
            }
            _ => return None,
        },
    };
    session.names_below(&installable).ok()
}

#[cfg(test)]
mod tests {
    use super::source_of;
    use std::path::PathBuf;
    use workspace::ExpressionSource;

    #[test]
    fn the_source_is_that_of_the_words() {
        let words = |line: &str| line.split_whitespace().map(Into::into).collect::<Vec<_>>();
        assert_eq!(source_of(&words("ev build .#a")), ExpressionSource::Flake);
        assert_eq!(source_of(&words("ev build -f x.nix a")), ExpressionSource::File(PathBuf::from("x.nix")));
        assert!(matches!(source_of(&words("ev build -E x a")), ExpressionSource::Text { .. }));
    }
}
