//! Advice on wrong commands and options: the closest name, or the name of what Nix calls otherwise.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};
use lang::error::suggest;
use std::ffi::OsString;

/// Commands of Nix, and of other tools, with the one to use.
const ELSEWHERE: &[(&[&str], &str)] = &[
    (&["profile", "nix-env", "env", "install"], "`ev prefix install` installs packages as a prefix, in generations"),
    (&["uninstall", "remove"], "`ev prefix uninstall PREFIX` removes a prefix"),
    (&["rollback", "switch", "generations"], "`ev prefix rollback`, `switch` and `generations`"),
    (&["copy", "nix-copy-closure", "push", "pull"], "stores cannot copy paths to each other yet"),
    (&["nix-build"], "`ev build -f default.nix`"),
    (&["nix-shell", "print-dev-env", "dev"], "`ev develop`, or `ev shell` for the programs of a package"),
    (&["nix", "nix-store"], "`ev store`, and `ev path-info` for the records of paths"),
    (&["nix-collect-garbage", "collect-garbage"], "`ev gc`"),
    (&["nix-hash", "nix-prefetch-url"], "`ev hash`"),
    (&["nix-channel", "channel", "upgrade-nix", "daemon", "nix-daemon"], "there are no channels and no daemon"),
    (&["show-config"], "`ev config show`"),
    (&["show-derivation", "show-drv"], "`ev derivation show`"),
    (&["add-to-store", "add-file", "add-path", "add"], "`ev store add`"),
    (&["verify", "repair"], "`ev store verify`"),
    (&["optimise-store", "optimise", "optimize"], "files are stored once from the start: there is nothing to do"),
    (
        &["ls", "cat", "delete", "diff-closures", "info", "ping"],
        "`ev store ls`, `cat`, `delete`, `diff-closures`, `info`",
    ),
    (&["lock", "update", "show", "init", "metadata", "archive", "new"], "`ev flake lock`, `update`, `show`, …"),
    (&["check"], "`ev flake check` for a flake, `ev prefix check` for a prefix"),
    (&["print", "evaluate"], "`ev expr`"),
    (&["format"], "`ev fmt`"),
    (&["why", "tree"], "`ev why-depends`"),
    (&["clean", "prune"], "`ev gc` for the store, `ev prefix prune` for generations"),
    (&["bundle", "key", "nar", "realisation", "sign-paths", "store-sign"], "there is no such command yet"),
];

/// Options of Nix with the one to use.
const OPTIONS: &[(&str, &str)] = &[
    ("--log-format", "`--progress plain` or `tree`"),
    ("--no-out-link", "`--no-link`"),
    ("--extra-experimental-features", "everything is enabled already"),
    ("--experimental-features", "everything is enabled already"),
    ("--substituters", "there are no substituters yet"),
    ("--builders", "there are no remote builders yet"),
    ("--check", "`--rebuild` builds again and compares"),
    ("--profile", "`ev prefix install` installs packages in generations"),
    ("--no-sandbox", "builds always run in the sandbox; `--sandbox relaxed` does without Landlock and seccomp"),
    ("--pure-eval", "evaluation is pure already"),
    ("--strict", "`ev expr` prints values in full"),
];

/// Adds advice to an error of clap.
pub fn advise(error: &mut clap::Error, mut command: Command, words: &[OsString]) {
    command.build();
    let at = command_of(&command, words);
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let Some(ContextValue::String(wanted)) = error.get(ContextKind::InvalidSubcommand).cloned() else { return };
            error.remove(ContextKind::SuggestedSubcommand);
            let names = visible_names(at);
            if let Some(close) = suggest(&wanted, names.into_iter()) {
                let close = ContextValue::Strings(vec![close.to_owned()]);
                error.insert(ContextKind::SuggestedSubcommand, close);
            } else if at.get_name() == command.get_name() {
                tip(error, elsewhere(&wanted).or_else(|| below(&command, &wanted)));
            }
            error.insert(ContextKind::Usage, ContextValue::StyledStr(usage(at)));
        }
        ErrorKind::UnknownArgument => {
            let Some(ContextValue::String(wanted)) = error.get(ContextKind::InvalidArg).cloned() else { return };
            if !wanted.starts_with("--") {
                return;
            }
            error.remove(ContextKind::SuggestedArg);
            error.remove(ContextKind::Suggested);
            let other = OPTIONS.iter().find(|(name, _)| *name == wanted).map(|(_, advice)| (*advice).to_owned());
            let name = wanted.trim_start_matches('-');
            if other.is_some() {
                tip(error, other);
            } else if let Some(close) = suggest(name, long_names(at).into_iter()) {
                let close = ContextValue::Strings(vec![format!("--{close}")]);
                error.insert(ContextKind::SuggestedArg, close);
            } else {
                tip(error, owner(&command, name).map(|owner| format!("`{owner}` has this option")));
            }
            error.insert(ContextKind::Usage, ContextValue::StyledStr(usage(at)));
        }
        // The usage that clap makes lists options that only variables gave.
        ErrorKind::MissingRequiredArgument => {
            error.insert(ContextKind::Usage, ContextValue::StyledStr(usage(at)));
        }
        _ => {}
    }
}

fn tip(error: &mut clap::Error, text: Option<String>) {
    if let Some(text) = text {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(text)]));
    }
}

fn usage(command: &Command) -> StyledStr {
    command.clone().render_usage()
}

/// Returns the command that the words name: an unknown word ends it.
fn command_of<'a>(command: &'a Command, words: &[OsString]) -> &'a Command {
    let mut at = command;
    for word in words.iter().skip(1).map(|word| word.to_string_lossy()) {
        match at.find_subcommand(&*word) {
            Some(next) => at = next,
            // Options before the command are rare, and none of their values is a command.
            None if word.starts_with('-') => {}
            None if at.has_subcommands() => return at,
            None => {}
        }
    }
    at
}

fn visible_names(command: &Command) -> Vec<&str> {
    let names = command.get_subcommands().flat_map(|each| each.get_name_and_visible_aliases());
    names.collect()
}

fn long_names(command: &Command) -> Vec<&str> {
    let visible = command.get_arguments().filter(|arg| !arg.is_hide_set());
    visible.flat_map(|arg| arg.get_long_and_visible_aliases().unwrap_or_default()).collect()
}

fn elsewhere(wanted: &str) -> Option<String> {
    let found = ELSEWHERE.iter().find(|(names, _)| names.contains(&wanted));
    found.map(|(_, advice)| (*advice).to_owned())
}

/// Returns the command with subcommands that has one of this name.
fn below(command: &Command, wanted: &str) -> Option<String> {
    let parent = command.get_subcommands().find(|each| each.find_subcommand(wanted).is_some())?;
    Some(format!("a command of this name exists: `ev {} {wanted}`", parent.get_name()))
}

/// Returns the first command that has a long option.
fn owner(command: &Command, long: &str) -> Option<String> {
    let has = |each: &Command| {
        let own = |arg: &&Arg| arg.get_long() == Some(long) && !arg.is_hide_set();
        each.get_arguments().any(|arg| own(&arg))
    };
    let mut todo: Vec<(String, &Command)> = vec![("ev".to_owned(), command)];
    while let Some((path, each)) = todo.pop() {
        if !each.has_subcommands() && has(each) {
            return Some(path);
        }
        let below: Vec<_> = each.get_subcommands().map(|next| (format!("{path} {}", next.get_name()), next)).collect();
        todo.extend(below.into_iter().rev());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{ELSEWHERE, advise};
    use crate::cli::help;
    use std::ffi::OsString;

    /// Returns the advice on a line, without the rest of the error.
    fn advice(line: &str) -> String {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let mut error = help::command().try_get_matches_from(&words).expect_err(line);
        advise(&mut error, help::command(), &words);
        let text = error.to_string();
        text.lines().filter_map(|line| line.trim().strip_prefix("tip: ")).collect()
    }

    #[test]
    fn typing_errors_are_corrected() {
        for (line, expected) in [
            ("ev biuld", "a similar subcommand exists: 'build'"),
            ("ev doctro", "a similar subcommand exists: 'doctor'"),
            ("ev store verfiy", "a similar subcommand exists: 'verify'"),
            ("ev build --jbos 3", "a similar argument exists: '--jobs'"),
            ("ev build --dry-rnu", "a similar argument exists: '--dry-run'"),
            ("ev expr --durabiltiy full", "a similar argument exists: '--durability'"),
            ("ev qqq", ""),
            ("ev build --qqq", ""),
        ] {
            assert_eq!(advice(line), expected, "{line}");
        }
    }

    #[test]
    fn other_names_lead_to_ours() {
        for (line, expected) in [
            ("ev profile", "`ev prefix install` installs packages as a prefix, in generations"),
            ("ev copy", "stores cannot copy paths to each other yet"),
            ("ev nix-build", "`ev build -f default.nix`"),
            ("ev rebuild-db", "a command of this name exists: `ev store rebuild-db`"),
            ("ev build --log-format raw", "`--progress plain` or `tree`"),
            ("ev doctor --print-out-paths", "`ev build` has this option"),
        ] {
            assert_eq!(advice(line), expected, "{line}");
        }
        // A name that has become a command is no longer elsewhere.
        let command = help::command();
        for name in ELSEWHERE.iter().flat_map(|(names, _)| names.iter()) {
            assert!(command.find_subcommand(name).is_none(), "{name} is a command");
        }
    }
}
