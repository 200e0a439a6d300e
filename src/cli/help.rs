//! Help: commands in groups, examples, and for each command only the options that it has a use for.

use super::{Cli, completions};
use clap::builder::StyledStr;
use clap::{Arg, Command, CommandFactory};
use std::fmt::Write;

/// The commands of `ev --help` by purpose. A test compares them with the commands that exist.
const GROUPS: [(&str, &[&str]); 6] = [
    ("Building", &["build", "run", "shell", "develop", "log", "instantiate", "derivation"]),
    ("Evaluating", &["expr", "repl", "search", "edit", "fmt", "nix-instantiate"]),
    ("Flakes", &["flake", "registry"]),
    ("Store", &["store", "path-info", "why-depends", "gc", "hash"]),
    ("Prefixes", &["prefix"]),
    ("This program", &["doctor", "config", "explain", "completions", "self", "help"]),
];

/// Commands that build what they are asked for. All others build only what an evaluation waits for,
/// and their help leaves the options of builds out.
const BUILDERS: [&str; 7] = ["build", "run", "shell", "develop", "prefix install", "prefix check", "flake check"];

const BUILD: &str = "Build options";

/// Examples for the help of each command, by the words of the command. A test parses each line.
const EXAMPLES: &[(&str, &[(&str, &str)])] = &[
    (
        "",
        &[
            ("ev build .#hello", "build a package of the flake in this directory, and link it as ./result"),
            ("ev expr '1 + 1'", "print the value of an expression"),
            ("ev help build", "describe a command with all its options"),
        ],
    ),
    (
        "build",
        &[
            ("ev build .#hello", "build the package `hello` of the flake in this directory"),
            ("ev build -f default.nix app -j 4", "build an attribute of a file, four builds at a time"),
            ("ev build .#hello^dev --dry-run", "print the plan for the output `dev`"),
        ],
    ),
    (
        "run",
        &[
            ("ev run .#hello-prefix --command hello", "run a program of a package, without installing it"),
            ("ev run .#app -- --verbose file", "run an app of the flake in this directory"),
        ],
    ),
    (
        "shell",
        &[
            ("ev shell .#python-prefix", "start a shell with a package on PATH"),
            ("ev shell .#python-prefix -c python3 -V", "run one command instead"),
            ("ev shell --failed", "enter the sandbox of the last failed build, as it was left"),
        ],
    ),
    (
        "develop",
        &[
            ("ev develop .#zlib", "start a shell in the sandbox in which a package is built"),
            ("ev develop .#zlib --fresh -c unpackPhase", "run a phase of its build in a new directory"),
        ],
    ),
    (
        "expr",
        &[
            ("ev expr '1 + 1'", "print the value of an expression"),
            ("ev expr --raw .#hello.version", "print a string of a flake"),
            ("ev expr --json -f default.nix meta", "print an attribute of a file as JSON"),
        ],
    ),
    (
        "instantiate",
        &[
            ("ev instantiate .#hello", "write a derivation, and print its path"),
            ("ev instantiate --store-model nix -f default.nix", "print the paths that Nix would print"),
        ],
    ),
    (
        "nix-instantiate",
        &[
            ("ev nix-instantiate --eval --strict -E '{ a = 1; }'", "print a value in Nix's form"),
            ("ev nix-instantiate default.nix -A hello", "print the path of a derivation"),
        ],
    ),
    (
        "flake show",
        &[
            ("ev flake show", "list the outputs of the flake in this directory"),
            ("ev flake show github:owner/repo --json", "the same of another, for programs"),
        ],
    ),
    (
        "flake check",
        &[
            ("ev flake check", "evaluate all outputs, and build the checks"),
            ("ev flake check --no-build --all-systems", "evaluate those for other machines too"),
        ],
    ),
    (
        "flake metadata",
        &[
            ("ev flake metadata", "print the inputs with their revisions and dates"),
            ("ev flake metadata nixpkgs --json", "the same of a flake in the registry, for programs"),
        ],
    ),
    (
        "flake init",
        &[
            ("ev flake init", "make a flake with a package of one's own"),
            ("ev flake init -t github:owner/repo#name", "make one from a template of another flake"),
        ],
    ),
    ("flake new", &[("ev flake new mytools", "make a flake in a new directory")]),
    (
        "flake archive",
        &[
            ("ev flake archive", "copy the flake and all its inputs to the store"),
            ("ev flake archive --json", "print the paths as a tree"),
        ],
    ),
    (
        "flake lock",
        &[
            ("ev flake lock", "lock new inputs of the flake in this directory"),
            ("ev flake lock ./dir", "the same, there"),
        ],
    ),
    (
        "flake update",
        &[
            ("ev flake update", "lock all inputs to their current versions"),
            ("ev flake update nixpkgs --flake ./dir", "lock one input"),
        ],
    ),
    (
        "registry list",
        &[("ev registry list", "list the names of flakes"), ("ev registry list --json", "the same for programs")],
    ),
    (
        "registry add",
        &[
            ("ev registry add nixpkgs github:NixOS/nixpkgs", "give a flake a name"),
            ("ev registry add mine ./dir", "give a directory a name"),
        ],
    ),
    ("registry remove", &[("ev registry remove nixpkgs", "remove a name")]),
    ("registry pin", &[("ev registry pin nixpkgs", "give the name to the present version")]),
    (
        "derivation show",
        &[
            ("ev derivation show .#hello", "print a derivation as JSON"),
            ("ev derivation show -r ./result", "print it with all that it was built from"),
        ],
    ),
    (
        "log",
        &[
            ("ev log .#hello", "print the log of the last build"),
            ("ev log ./result", "print the log of the build that made a result"),
        ],
    ),
    (
        "path-info",
        &[
            ("ev path-info -S ./result", "print the path and the size of its closure"),
            ("ev path-info -r --json .#hello", "print the records of the whole closure as JSON"),
        ],
    ),
    (
        "store add",
        &[
            ("ev store add ./file", "add a file, and print its path"),
            ("ev store add --name src ./dir", "add a directory under another name"),
        ],
    ),
    (
        "store verify",
        &[
            ("ev store verify", "compare everything with its checksums"),
            ("ev store verify --repair", "also repair damage"),
        ],
    ),
    (
        "store gc",
        &[
            ("ev store gc --dry-run", "print what would be deleted"),
            ("ev store gc --older-than 14", "keep what was made in the last two weeks"),
        ],
    ),
    (
        "store rebuild-db",
        &[
            ("ev store rebuild-db", "rebuild the database from the files"),
            ("ev store rebuild-db --downgrade", "also that of a newer program"),
        ],
    ),
    (
        "prefix install",
        &[
            ("ev prefix install .#python-prefix --to /", "install a prefix on this machine"),
            ("ev prefix install ./result --to /mnt --mode hardlink", "install a result below another root"),
        ],
    ),
    (
        "prefix rollback",
        &[
            ("ev prefix rollback /usr/local/my-stuff", "switch to the generation before"),
            ("ev prefix rollback /usr/local/my-stuff --root /mnt", "the same, below another root"),
        ],
    ),
    (
        "prefix switch",
        &[
            ("ev prefix switch /usr/local/my-stuff", "switch to the newest generation"),
            ("ev prefix switch /usr/local/my-stuff 3", "switch to generation 3"),
        ],
    ),
    (
        "prefix uninstall",
        &[
            ("ev prefix uninstall /usr/local/my-stuff", "remove a prefix with all its generations"),
            ("ev prefix uninstall /usr/local/my-stuff --force", "move files that were added by hand aside"),
        ],
    ),
    (
        "prefix prune",
        &[
            ("ev prefix prune /usr/local/my-stuff --keep 2", "remove all but the two newest generations"),
            ("ev prefix prune /usr/local/my-stuff --older-than 30", "remove those of more than 30 days"),
        ],
    ),
    (
        "prefix generations",
        &[
            ("ev prefix generations /usr/local/my-stuff", "list the generations"),
            ("ev prefix generations /usr/local/my-stuff --json", "the same for programs"),
        ],
    ),
    (
        "prefix check",
        &[
            ("ev prefix check .#python-prefix", "build a prefix, and find references that lead out of it"),
            ("ev prefix check / --prefix /usr/local/my-stuff --json", "check an installed prefix"),
        ],
    ),
    (
        "store ls",
        &[
            ("ev store ls -lR ./result", "list everything in a result, with sizes"),
            ("ev store ls --json ./result/bin", "list a directory as JSON"),
        ],
    ),
    (
        "store cat",
        &[
            ("ev store cat ./result/etc/conf", "print a file of a result"),
            ("ev store cat /eval/store/HASH-name/file", "print a file by its logical path"),
        ],
    ),
    (
        "store diff-closures",
        &[
            ("ev store diff-closures ./result-old ./result", "show which packages changed between two results"),
            ("ev store diff-closures .#old .#new --json", "the same of two packages, for programs"),
        ],
    ),
    (
        "store info",
        &[
            ("ev store info", "print the place of the store, its paths and free space"),
            ("ev store info --json", "the same for programs"),
        ],
    ),
    (
        "store delete",
        &[
            ("ev store delete /eval/store/HASH-name", "delete a path that nothing needs"),
            ("ev store delete --dry-run /eval/store/HASH-name", "print what would be deleted"),
        ],
    ),
    (
        "gc",
        &[
            ("ev gc --dry-run", "print what would be deleted"),
            ("ev gc --max-size 20G", "keep the newest unneeded paths, up to 20 GiB"),
        ],
    ),
    (
        "why-depends",
        &[
            ("ev why-depends ./result .#glibc", "show why a result needs glibc"),
            ("ev why-depends --all --precise ./result .#glibc", "show all chains, and the files with the references"),
        ],
    ),
    (
        "hash file",
        &[
            ("ev hash file archive.tar.gz", "print the hash of a file, in the form for `hash = …`"),
            ("ev hash file --type sha512 --base16 archive.tar.gz", "another algorithm, in hex"),
        ],
    ),
    (
        "hash path",
        &[
            ("ev hash path ./src", "print the hash of a directory, as for an unpacked source"),
            ("ev hash path --mode flat ./file", "print that of the contents of a file"),
        ],
    ),
    (
        "hash string",
        &[
            ("ev hash string hello", "print the hash of a text"),
            ("ev hash string --type blake3 --to base16 hello", "another algorithm, in hex"),
        ],
    ),
    (
        "hash convert",
        &[
            (
                "ev hash convert --hash-algo sha256 1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s",
                "convert to the form for `hash = …`",
            ),
            (
                "ev hash convert --to nix32 sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=",
                "convert to Nix base 32",
            ),
        ],
    ),
    (
        "hash to-sri",
        &[
            (
                "ev hash to-sri --type sha256 1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s",
                "convert to the form for `hash = …`",
            ),
            (
                "ev hash to-sri sha1:800d59cfcd3c05e900cb4e214be48f6b886a08df",
                "the same, where the text names its algorithm",
            ),
        ],
    ),
    (
        "hash to-base16",
        &[
            ("ev hash to-base16 sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=", "convert to hex"),
            ("ev hash to-base16 --type sha1 kpcd173cq987hw957sx6m0868wv3x6d9", "convert from Nix base 32"),
        ],
    ),
    (
        "hash to-base32",
        &[
            ("ev hash to-base32 sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=", "convert to Nix base 32"),
            ("ev hash to-base32 --type sha1 800d59cfcd3c05e900cb4e214be48f6b886a08df", "convert from hex"),
        ],
    ),
    (
        "hash to-base64",
        &[
            ("ev hash to-base64 sha1:800d59cfcd3c05e900cb4e214be48f6b886a08df", "convert to base 64"),
            ("ev hash to-base64 --type sha1 kpcd173cq987hw957sx6m0868wv3x6d9", "convert from Nix base 32"),
        ],
    ),
    (
        "search",
        &[
            ("ev search . json", "find packages of this flake whose name or description has `json`"),
            ("ev search nixpkgs python '^web' --exclude django", "several patterns, all of which match"),
        ],
    ),
    (
        "edit",
        &[
            ("ev edit .#hello", "open the file that defines a package, at its line"),
            ("ev edit -f default.nix app", "the same for an attribute of a file"),
        ],
    ),
    (
        "fmt",
        &[
            ("ev fmt", "format all `.nix` files in this directory and below it"),
            ("ev fmt --check default.nix", "say whether a file has the standard form"),
        ],
    ),
    (
        "config show",
        &[
            ("ev config show", "print all settings, with where their values are from"),
            ("ev config show jobs --json", "print one for programs"),
        ],
    ),
    (
        "doctor",
        &[
            ("ev doctor", "print what builds need, and remedies for what is missing"),
            ("ev doctor --json", "the same for programs"),
        ],
    ),
    (
        "repl",
        &[
            ("ev repl", "evaluate lines that are typed"),
            ("ev repl default.nix", "the same, with the attributes of a file"),
        ],
    ),
    (
        "explain",
        &[("ev explain lang::missing_attribute", "explain an error"), ("ev explain", "list the codes of all errors")],
    ),
    (
        "completions",
        &[
            ("source <(ev completions bash)", "complete commands in this shell"),
            ("ev completions fish > ~/.config/fish/completions/ev.fish", "complete them in every fish"),
        ],
    ),
    (
        "self install",
        &[
            ("ev self install --to ~/.local/bin", "install this program under its three names"),
            ("ev self install --force", "also where other programs have these names"),
        ],
    ),
    (
        "self man",
        &[
            ("ev self man ~/.local/share/man/man1", "write the manual pages of all commands"),
            ("ev self man /usr/local/share/man/man1", "the same for all users"),
        ],
    ),
];

/// Returns the whole command line, with its help.
pub fn command() -> Command {
    let command = Cli::command().mut_args(|arg| match arg.is_global_set() {
        true => arg.hide_short_help(true).hide_env(true),
        false => arg,
    });
    let command = command.mut_subcommands(|each| with_help(each, ""));
    let template = template(&command);
    with_examples(command.help_template(template), "")
}

/// Adapts the help of a command below `parent`.
fn with_help(command: Command, parent: &str) -> Command {
    let path = format!("{parent} {}", command.get_name()).trim_start().to_owned();
    let builds = BUILDERS.contains(&path.as_str());
    let is_hidden = move |arg: &Arg| !builds && arg.get_help_heading() == Some(BUILD);
    let command = command.mut_args(|arg| match is_hidden(&arg) {
        true => arg.hide(true),
        false if arg.get_value_names().is_some_and(|names| names[0] == "INSTALLABLE") => {
            arg.add(completions::installables())
        }
        false => arg.hide_env(true),
    });
    let command = command.mut_subcommands(|each| with_help(each, &path));
    with_examples(command, &path)
}

fn with_examples(command: Command, path: &str) -> Command {
    let found = EXAMPLES.iter().find(|(words, _)| *words == path);
    let examples = found.map(|(_, examples)| *examples).unwrap_or_default();
    let width = examples.iter().map(|(line, _)| line.len()).max().unwrap_or(0).min(EXAMPLE_WIDTH);
    let header = command.get_styles().get_header();
    let mut text = String::new();
    if !examples.is_empty() {
        let _ = write!(text, "{header}Examples:{header:#}");
        for (line, meaning) in examples {
            let _ = write!(text, "\n  {line:width$}  {meaning}");
        }
    }
    let mut notes = Vec::new();
    let headings: Vec<&str> = command.get_arguments().filter_map(Arg::get_help_heading).collect();
    if headings.contains(&BUILD) && !BUILDERS.contains(&path) {
        notes.push("For builds that an evaluation waits for, the options of `ev build` apply.".to_owned());
    }
    let long_notes = notes.clone();
    if path.is_empty() {
        notes.push("`ev help COMMAND` describes a command, `ev --help` the options of all commands.".to_owned());
    } else if !command.has_subcommands() {
        notes.push(format!("`ev help {path}` describes all options, also those of every command."));
    }
    let with = |notes: Vec<String>| {
        let parts = [text.clone()].into_iter().chain(notes).filter(|part| !part.is_empty());
        parts.collect::<Vec<_>>().join("\n\n")
    };
    let (short, long) = (with(notes), with(long_notes));
    command.after_help(short).after_long_help(long)
}

/// Column of the meaning of an example, for lines that are not longer.
const EXAMPLE_WIDTH: usize = 44;

/// Returns the help of the program: its commands in groups.
fn template(command: &Command) -> StyledStr {
    let styles = command.get_styles();
    let (header, literal) = (styles.get_header(), styles.get_literal());
    let mut text = "{about-with-newline}\n{usage-heading} {usage}\n".to_owned();
    let width = command.get_subcommands().map(|each| each.get_name().len()).max().unwrap_or(0);
    for (title, names) in GROUPS {
        let known = names.iter().filter_map(|name| Some((name, about(command, name)?)));
        let mut lines = known.map(|(name, about)| format!("\n  {literal}{name:width$}{literal:#}  {about}")).peekable();
        if lines.peek().is_some() {
            let _ = write!(text, "\n{header}{title}:{header:#}");
            text.extend(lines);
            text.push('\n');
        }
    }
    let _ = write!(text, "\n{header}Options:{header:#}\n{{options}}{{after-help}}");
    text.into()
}

/// Returns what a command does; `None` when there is none of that name.
fn about(command: &Command, name: &str) -> Option<String> {
    if name == "help" {
        return Some("Describe a command and its options".to_owned());
    }
    Some(command.find_subcommand(name)?.get_about()?.to_string())
}

#[cfg(test)]
mod tests {
    use super::{EXAMPLES, GROUPS, command};
    use crate::cli::Cli;
    use clap::{Command, FromArgMatches};

    /// Returns the commands without subcommands, by their words.
    fn leaves(command: &Command, parent: &str, found: &mut Vec<String>) {
        for each in command.get_subcommands().filter(|each| !each.is_hide_set()) {
            let path = format!("{parent} {}", each.get_name()).trim_start().to_owned();
            match each.has_subcommands() {
                true => leaves(each, &path, found),
                false => found.push(path),
            }
        }
    }

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn each_command_is_in_one_group() {
        let listed: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let command = command();
        for each in command.get_subcommands().filter(|each| !each.is_hide_set()) {
            let name = each.get_name();
            assert_eq!(listed.iter().filter(|listed| **listed == name).count(), 1, "{name} in GROUPS");
        }
    }

    #[test]
    fn each_command_has_examples() {
        let mut found = Vec::new();
        leaves(&command(), "", &mut found);
        let without: Vec<&String> =
            found.iter().filter(|path| !EXAMPLES.iter().any(|(words, _)| words == path)).collect();
        assert!(without.is_empty(), "no EXAMPLES for {without:?}");
        for (words, _) in EXAMPLES.iter().filter(|(words, _)| !words.is_empty()) {
            assert!(found.iter().any(|path| path == words), "`{words}` is no command");
        }
    }

    /// Splits a line as a shell does, as far as examples go: words, single quotes, redirections.
    fn words(line: &str) -> Vec<String> {
        let line = line.strip_prefix("source <(").and_then(|line| line.strip_suffix(')')).unwrap_or(line);
        let line = line.split_once(" > ").map_or(line, |(line, _)| line);
        let mut words = Vec::new();
        for (number, part) in line.split('\'').enumerate() {
            match number % 2 {
                1 => words.push(part.to_owned()),
                _ => words.extend(part.split_whitespace().map(str::to_owned)),
            }
        }
        words
    }

    #[test]
    fn each_example_parses() {
        for (path, line) in EXAMPLES.iter().flat_map(|(path, lines)| lines.iter().map(move |(line, _)| (path, line))) {
            let words = words(line);
            if words[1] == "help" {
                continue;
            }
            assert!(words[1..].join(" ").starts_with(path), "`{line}` is an example of `{path}`");
            let matches = command().try_get_matches_from(words);
            let parsed = matches.and_then(|matches| Cli::from_arg_matches(&matches));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }

    #[test]
    fn short_help_is_short() {
        let mut command = command();
        let lines = command.render_help().to_string().lines().count();
        assert!(lines <= 60, "{lines} lines");
        for name in ["build", "log", "path-info", "expr", "store", "prefix"] {
            let each = command.find_subcommand_mut(name).expect("a command");
            let text = each.render_help().to_string();
            assert!(text.lines().count() <= 45, "{name}: {} lines", text.lines().count());
            assert!(!text.contains("--durability"), "{name}: {text}");
        }
    }
}
