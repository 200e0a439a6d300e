//! Parts that `run`, `shell` and `develop` share: the command of the user, the terminal, visits of
//! sandboxes, and programs of the host with trees of the store at their paths.

use super::session::CommandSession;
use crate::interrupt::{self, interrupts};
use crate::print::remark;
use crate::report::Failure;
use builder::{BuildError, Entry, Target, VisitorCommand, quoted};
use clap::Args;
use deliver::prefix::find_prefix;
use model::{StoreModel, StorePath};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use sandbox::request::{WindowSize, Words};
use sandbox::{Attachment, NewTerminal, Program, SandboxError, Status, Streams};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal, stderr, stdin, stdout};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::LocalStore;
use workspace::Wanted;

/// The command to run instead of a shell.
#[derive(Debug, Args, Clone, Default)]
pub struct VisitArgs {
    /// Run this instead of a shell: one argument is a line for a shell, several are a command and
    /// its arguments
    #[arg(
        short = 'c',
        long,
        value_name = "COMMAND",
        num_args = 1..,
        allow_hyphen_values = true,
        conflicts_with = "program"
    )]
    pub command: Vec<OsString>,
    /// Run this program without a shell
    #[arg(last = true, value_name = "PROGRAM")]
    pub program: Vec<OsString>,
}

impl VisitArgs {
    /// Returns the command; a shell when none was given.
    pub fn visitor_command(&self) -> VisitorCommand {
        match (self.command.as_slice(), self.program.as_slice()) {
            ([], []) => VisitorCommand::Shell,
            ([], program) => VisitorCommand::Program(program.to_vec()),
            ([line], _) => VisitorCommand::Line(line.clone()),
            (words, _) => VisitorCommand::Words(words.to_vec()),
        }
    }
}

/// The exit status by which shells say that there is no such program.
const NO_SUCH_PROGRAM: u8 = 127;

/// Runs a command in a sandbox, and returns its exit status.
///
/// # Errors
/// When it could not be started, or a signal ended it together with this process.
pub fn visit(entry: &mut Entry, command: &VisitorCommand, setup: &str) -> Result<u8, Failure> {
    let (input, output, errors) = (stdin(), stdout(), stderr());
    // A terminal only when a user can both read and type there.
    let interactive = input.is_terminal() && output.is_terminal();
    let size = || WindowSize::of(stdout()).or_else(|| WindowSize::of(stdin()));
    let terminal = interactive.then(|| NewTerminal {
        size: size().unwrap_or(WindowSize { rows: 24, columns: 80 }),
        streams: [true, true, errors.is_terminal()],
    });
    // Editing a line needs the name of the terminal; all else is as the build has it.
    let is_name = |name: &OsString| name.as_bytes().iter().all(|c| c.is_ascii_alphanumeric() || b"-+._".contains(c));
    if interactive && let Some(name) = std::env::var_os("TERM").filter(is_name) {
        entry.set_variable("TERM", name);
    }
    let _cooperating = interrupts().cooperate();
    let raw = interactive.then(RawTerminal::begin);
    let streams = Streams { input: input.as_fd(), output: output.as_fd(), errors: errors.as_fd(), size: &size };
    let visited = entry.visit(command, setup, terminal, &streams);
    drop(raw);
    let outcome = match (visited, command) {
        (Ok(outcome), _) => outcome,
        (Err(BuildError::Sandbox(SandboxError::Builder { .. })), command) => {
            let failure = match command {
                VisitorCommand::Program(words) => {
                    let name = words.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                    Failure::new(format!("cannot run `{name}` in the sandbox: it has no such program"))
                }
                _ => Failure::new("the sandbox has no shell, and no program of this machine is used in it")
                    .help("run a program of it without a shell: `-- PROGRAM ARGUMENTS`"),
            };
            failure.print(false);
            return Ok(NO_SUCH_PROGRAM);
        }
        (Err(error), _) => return Err(error.into()),
    };
    if !outcome.skipped.is_empty() {
        remark!("warning: the sandbox was relaxed: {} missing", outcome.skipped.join(", "));
    }
    match outcome.status {
        Status::Exited(status) => Ok(u8::try_from(status).unwrap_or(1)),
        Status::Signalled(signal) => Ok(u8::try_from(128 + signal).unwrap_or(1)),
        _ => Err(Failure::interrupted()),
    }
}

/// The caller's terminal, which passes on every key until this is dropped.
struct RawTerminal(Option<Termios>);

impl RawTerminal {
    fn begin() -> RawTerminal {
        let Ok(before) = tcgetattr(stdin()) else { return RawTerminal(None) };
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        let saved = before.clone();
        // A signal ends the process without dropping anything.
        interrupt::before_end(move || {
            let _ = tcsetattr(stdin(), SetArg::TCSANOW, &saved);
        });
        let begun = tcsetattr(stdin(), SetArg::TCSADRAIN, &raw).is_ok();
        RawTerminal(begun.then_some(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // An answer that a program inside got out of the terminal is discarded: the caller's
            // shell would read it as a command.
            let _ = tcsetattr(stdin(), SetArg::TCSAFLUSH, before);
        }
    }
}

/// Realises what was asked for, and returns the paths of the outputs.
///
/// # Errors
/// When a build fails.
pub fn realise(session: &CommandSession, wanted: Vec<Wanted>) -> Result<Vec<StorePath>, Failure> {
    let mut targets = Vec::new();
    let mut order = Vec::new();
    for wanted in wanted {
        match wanted {
            Wanted::Derivation { drv, outputs } => {
                order.push(None);
                targets.push(Target { drv, outputs });
            }
            Wanted::Path(path) => order.push(Some(path)),
        }
    }
    let plan = session.builder.plan(&targets)?;
    let mut built = plan.targets.iter().map(|target| target.outputs.values().cloned().collect::<Vec<_>>());
    let mut paths = Vec::new();
    for ready in order {
        match ready {
            Some(path) => paths.push(path),
            None => paths.extend(built.next().unwrap_or_default()),
        }
    }
    drop(built);
    session.store.temp_roots(paths.iter().cloned())?;
    // Nothing is said when there is nothing to do: what is printed is the program's.
    if !plan.is_empty() {
        let _cooperating = interrupts().cooperate();
        session.builder.realise(plan)?;
    }
    Ok(paths)
}

/// An output with programs, at the path at which they run.
pub struct Tree {
    physical: PathBuf,
    /// The path at which it is seen: in the store, or of the prefix that it holds.
    at: PathBuf,
    /// The directory that is seen there.
    shown: PathBuf,
    is_prefix: bool,
}

/// Directories of this machine that a tree must not hide.
const OWN_DIRECTORIES: [&str; 16] = [
    "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/opt", "/proc", "/root", "/run", "/sbin", "/sys",
    "/tmp", "/usr", "/var",
];

impl Tree {
    /// Finds out how an output is seen.
    ///
    /// # Errors
    /// When it is a tree for a directory that this machine has itself.
    pub fn of(store: &LocalStore, path: &StorePath) -> Result<Tree, Failure> {
        let physical = store.physical_path(path);
        let plain = ["bin", "sbin", "lib"].iter().any(|name| physical.join(name).exists());
        if !plain
            && physical.is_dir()
            && let Ok(prefix) = find_prefix(&physical)
        {
            if OWN_DIRECTORIES.iter().any(|own| prefix == Path::new(own)) {
                let message = format!("`{path}` is a tree for `{}`, which this machine has itself", prefix.display());
                return Err(
                    Failure::new(message).help("its programs run where it is installed, or in the root of a build")
                );
            }
            let below = prefix.strip_prefix("/").unwrap_or(&prefix);
            return Ok(Tree { shown: physical.join(below), physical, at: prefix, is_prefix: true });
        }
        let at = PathBuf::from(StoreModel::Native.print(path));
        Ok(Tree { shown: physical.clone(), physical, at, is_prefix: false })
    }

    /// Returns the directories with its programs.
    pub fn program_directories(&self) -> Vec<PathBuf> {
        let names = ["bin", "sbin"].iter().filter(|name| self.shown.join(name).is_dir());
        names.map(|name| self.at.join(name)).collect()
    }

    /// Returns the path of a program.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        let is_plain = !name.is_empty() && !name.contains('/');
        let mut found = ["bin", "sbin"].iter().map(|directory| Path::new(directory).join(name));
        let below = found.find(|below| is_plain && self.shown.join(below).symlink_metadata().is_ok())?;
        Some(self.at.join(below))
    }

    /// Returns the names of its programs, sorted.
    pub fn programs(&self) -> Vec<String> {
        let directories = ["bin", "sbin"].iter().filter_map(|name| std::fs::read_dir(self.shown.join(name)).ok());
        let names = directories.flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Returns its path, when it is one executable file.
    pub fn as_program(&self) -> Option<&Path> {
        use std::os::unix::fs::PermissionsExt;
        let found = self.physical.symlink_metadata().ok()?;
        (found.is_file() && found.permissions().mode() & 0o111 != 0).then_some(self.at.as_path())
    }
}

/// Replaces this process by a program of the host, with the store and the trees at their paths.
///
/// Returns only the failure.
pub fn become_program(
    session: CommandSession,
    trees: &[Tree],
    words: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
) -> Failure {
    let store = session.store.root().join("store");
    let logical = Path::new(StoreModel::Native.store_dir());
    let mut attachments = Vec::new();
    let is_in_place = match (store.canonicalize(), logical.canonicalize()) {
        (Ok(store), Ok(logical)) => store == logical,
        _ => false,
    };
    if !is_in_place {
        attachments.push(Attachment { at: logical.to_owned(), layers: vec![store] });
    }
    let mut prefixes: BTreeMap<&Path, Vec<PathBuf>> = BTreeMap::new();
    for tree in trees.iter().filter(|tree| tree.is_prefix) {
        let layers = prefixes.entry(&tree.at).or_default();
        if !layers.contains(&tree.shown) {
            layers.push(tree.shown.clone());
        }
    }
    attachments.extend(prefixes.into_iter().map(|(at, layers)| Attachment { at: at.to_owned(), layers }));
    // The collector leaves the paths in use alone as long as this is open, so in every process that
    // the program starts.
    let kept = match session.store.hold_temp_roots() {
        Ok(kept) => kept,
        Err(error) => return error.into(),
    };
    // When the store is closed, its temporary roots go.
    let _open = Arc::clone(&session.store);
    drop(session);
    let program = Program { attachments, words: Words(words) };
    let error = program.become_it(&variables, &kept.into_iter().collect::<Vec<_>>());
    let help = error.help().map(str::to_owned);
    let failure = Failure::new(error.to_string());
    match help {
        Some(help) => failure.help(help),
        None => failure,
    }
}

/// Returns this process's environment, with directories before those of `PATH`.
pub fn environment_with(directories: &[PathBuf]) -> Vec<(OsString, OsString)> {
    let mut variables: Vec<(OsString, OsString)> = std::env::vars_os().filter(|(name, _)| name != "PATH").collect();
    let before = std::env::var_os("PATH");
    let mut path = OsString::new();
    for directory in directories.iter().map(|directory| directory.as_os_str()).chain(before.as_deref()) {
        if !path.is_empty() {
            path.push(":");
        }
        path.push(directory);
    }
    variables.push(("PATH".into(), path));
    variables
}

/// Returns the user's own shell.
pub fn own_shell() -> OsString {
    std::env::var_os("SHELL").filter(|shell| !shell.is_empty()).unwrap_or_else(|| "/bin/sh".into())
}

/// Returns the words of a command of the host.
pub fn host_words(args: &VisitArgs) -> Vec<OsString> {
    let is_line = |text: &OsStr| text.as_bytes().iter().any(|byte| b" \t\n;&|<>()$`\\\"'*?[#~=%{".contains(byte));
    match args.visitor_command() {
        VisitorCommand::Shell => vec![own_shell()],
        VisitorCommand::Line(line) if is_line(&line) => vec!["/bin/sh".into(), "-c".into(), line],
        VisitorCommand::Line(name) => vec![name],
        VisitorCommand::Words(words) | VisitorCommand::Program(words) => words,
    }
}

/// Returns the text that a shell in a sandbox reads first: the functions of the build, and a prompt
/// with its name.
pub fn setup_of(entry: &Entry, name: &str) -> String {
    let mut text = entry.functions().text;
    // As Nix does: structured attributes as variables, and the functions of its standard
    // environment, where a derivation names one.
    text.push_str(
        "if [ -n \"${BASH_VERSION-}\" ] && [ -e \"${NIX_ATTRS_SH_FILE-}\" ]; then . \"$NIX_ATTRS_SH_FILE\"; fi\n",
    );
    text.push_str("if [ -n \"${stdenv-}\" ] && [ -e \"$stdenv/setup\" ]; then . \"$stdenv/setup\"; set +eu; fi\n");
    let prompt = quoted(format!("[ev {name}] \\w \\$ ").as_bytes());
    text.push_str(&format!("if [ -n \"${{BASH_VERSION-}}\" ] && [ -n \"${{PS1-}}\" ]; then PS1={prompt}; fi\n"));
    text
}

/// Prints the functions that a shell has.
pub fn remark_functions(entry: &Entry) {
    let functions = entry.functions();
    match functions.phases.as_slice() {
        [] => remark!("`{}` runs the build", builder::BuildFunctions::WHOLE),
        phases => remark!(
            "phases: {}; `{}` runs the whole build",
            phases.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
            builder::BuildFunctions::WHOLE
        ),
    }
}
