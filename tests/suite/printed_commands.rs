//! The commands in README and book run as they are printed, in bash and in dash.
//!
//! A page is a story in its own directory:
//!
//! - A code block whose first line is `# NAME.nix` (or another file name) is written to that file.
//! - A block ```` ```console ```` holds commands after `$ `, each followed by its output, both
//!   streams. `…` in a line stands for any text, a line `…` for any lines. A command without printed
//!   output must succeed; its text is not compared.
//! - ```` ```console slow ```` takes minutes or the network. These run only in the complete check,
//!   with the store of the main job (`EVAL_ROOT`) and the program in `EVAL`; then all blocks run.
//!
//! `/where/you/cloned/eval` is a repository with the corpus of this tree. The slow commands see empty
//! `/usr/local` and `/opt`, so that they can install to `/`.

use crate::fetchers::commit;
use crate::workspace::{PROGRAM, Workspace};
use gix::objs::tree::{Entry, EntryKind};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const CLONE: &str = "/where/you/cloned/eval";

/// Pages whose commands measure or check this program itself.
const NOT_FOR_USERS: [&str; 3] = ["benchmarks.md", "conformance.md", "style.md"];

#[derive(Debug)]
enum Step {
    File { name: String, text: String },
    Command { line: String, output: Vec<String>, slow: bool },
}

#[test]
fn each_command_runs_as_printed() {
    let mut wrong = Vec::new();
    let mut commands = 0;
    for page in pages() {
        let steps: Vec<Step> = steps(&fs::read_to_string(&page).unwrap());
        let quick: Vec<Step> =
            steps.into_iter().filter(|step| !matches!(step, Step::Command { slow: true, .. })).collect();
        commands += quick.iter().filter(|step| matches!(step, Step::Command { .. })).count();
        for shell in ["bash", "dash"] {
            wrong.extend(tell(&page, &quick, shell, Path::new(PROGRAM), None));
        }
    }
    assert!(commands > 10, "only {commands} commands were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
#[ignore = "needs the store of the main job, for minutes: EVAL=…/eval EVAL_ROOT=…"]
fn each_slow_command_runs_as_printed() {
    let program = PathBuf::from(std::env::var_os("EVAL").expect("EVAL is the program to test"));
    let store = PathBuf::from(std::env::var_os("EVAL_ROOT").expect("EVAL_ROOT is the store of the main job"));
    let mut wrong = Vec::new();
    for page in pages() {
        let steps = steps(&fs::read_to_string(&page).unwrap());
        if steps.iter().any(|step| matches!(step, Step::Command { slow: true, .. })) {
            wrong.extend(tell(&page, &steps, "bash", &program, Some(&store)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn commands_are_printed_where_they_are_tested() {
    let mut wrong = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let mut fence = None;
        for (number, line) in text.lines().enumerate() {
            if let Some(info) = line.trim_start().strip_prefix("```") {
                fence = if fence.is_some() { None } else { Some(info.trim().to_owned()) };
                continue;
            }
            let in_console = fence.as_deref().is_some_and(|info| info.starts_with("console"));
            let shown = if fence.is_some() { Some(line) } else { line.strip_prefix("    ") };
            let command = shown.is_some_and(|line| {
                let line = line.trim_start();
                ["ev ", "eval ", "build ", "$ "].iter().any(|start| line.starts_with(start))
            });
            let in_nix = fence.as_deref().is_some_and(|info| info.starts_with("nix"));
            if command && !in_console && !in_nix {
                wrong.push(format!("{}:{}: {line}", page.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "commands outside of a `console` block:\n{}", wrong.join("\n"));
}

fn pages() -> Vec<PathBuf> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![top.join("README.md")];
    let book = fs::read_dir(top.join("docs/src")).unwrap().map(|entry| entry.unwrap().path());
    pages.extend(book.filter(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.ends_with(".md") && !NOT_FOR_USERS.contains(&name)
    }));
    pages.sort();
    pages
}

/// Returns the files and commands of a page.
fn steps(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
        if info.split_whitespace().next() == Some("console") {
            let slow = info.split_whitespace().any(|word| word == "slow");
            commands(&block, slow, &mut steps);
        } else if let Some(name) = block.first().and_then(|line| file_name(line)) {
            steps.push(Step::File { name: name.to_owned(), text: block[1..].join("\n") + "\n" });
        }
    }
    steps
}

fn commands(block: &[&str], slow: bool, steps: &mut Vec<Step>) {
    for line in block {
        if let Some(line) = line.strip_prefix("$ ") {
            steps.push(Step::Command { line: line.to_owned(), output: Vec::new(), slow });
        } else if let Some(Step::Command { line: command, output, .. }) = steps.last_mut() {
            match line.strip_prefix("> ").filter(|_| output.is_empty()) {
                Some(more) => *command += &format!("\n{more}"),
                None => output.push((*line).to_owned()),
            }
        }
    }
}

/// Returns the name in a first line such as `# hello/flake.nix`.
fn file_name(line: &str) -> Option<&str> {
    let name = line.strip_prefix("# ")?;
    let endings = [".nix", ".toml", ".json", ".sh", ".txt"];
    (!name.contains(' ') && endings.iter().any(|ending| name.ends_with(ending))).then_some(name)
}

/// Runs a page in a shell, and returns its differences.
fn tell(page: &Path, steps: &[Step], shell: &str, program: &Path, store: Option<&Path>) -> Vec<String> {
    let workspace = Workspace::with_own_store("{ }");
    let story = workspace.path().join("story");
    let clone = story.join("eval");
    for directory in [&story, &workspace.path().join("bin")] {
        fs::create_dir(directory).unwrap();
    }
    for name in ["ev", "eval", "build"] {
        symlink(program, workspace.path().join("bin").join(name)).unwrap();
    }
    if steps
        .iter()
        .any(|step| matches!(step, Step::File { text, .. } | Step::Command { line: text, .. } if text.contains(CLONE)))
    {
        copy_of_this_tree(&clone);
    }

    let place = |text: &str| text.replace(CLONE, clone.to_str().unwrap());
    let mut script = String::from("exec 2>&1 </dev/null\n");
    for step in steps {
        match step {
            Step::File { name, text } => {
                let path = story.join(name);
                let directory = path.parent().unwrap();
                script += &format!(
                    "mkdir -p '{}'\ncat > '{}' <<'end of file'\n{}end of file\n",
                    directory.display(),
                    path.display(),
                    place(text)
                );
            }
            Step::Command { line, .. } => {
                script += &format!("printf '\\036'\n{}\nprintf '\\035%s' \"$?\"\n", place(line));
            }
        }
    }
    let path = format!("{}:{}", workspace.path().join("bin").display(), std::env::var("PATH").unwrap_or_default());
    let mut command = match store {
        None => workspace.prepare(Command::new(shell), ["-c", &script]),
        Some(_) => {
            let empty =
                "mount -t tmpfs -o mode=755 tmpfs /usr/local && mount -t tmpfs -o mode=755 tmpfs /opt || exit 1";
            let script = format!("{empty}\n{script}");
            workspace.prepare(Command::new("unshare"), ["--map-root-user", "--mount", shell, "-c", &script])
        }
    };
    command.current_dir(&story).env("PATH", path).env("HOME", workspace.path()).stdin(Stdio::null());
    for variable in ["XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"] {
        command.env_remove(variable);
    }
    if let Some(store) = store {
        command.env("EVAL_ROOT", store);
    }
    let ran = command.output().unwrap_or_else(|error| panic!("{shell} cannot be started: {error}"));
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();

    let expected = steps.iter().filter_map(|step| match step {
        Step::Command { line, output, .. } => Some((line, output)),
        Step::File { .. } => None,
    });
    let mut answers = said.split('\u{1e}').skip(1);
    let mut wrong = Vec::new();
    for (line, output) in expected {
        let answer = answers.next().unwrap_or("(not reached)\u{1d}");
        let (text, status) = answer.split_once('\u{1d}').unwrap_or((answer, "none"));
        let text = text.trim_end();
        let printed: Vec<String> = output.iter().map(|line| place(line)).collect();
        let as_printed = printed.is_empty() || matches(&printed, &text.lines().collect::<Vec<_>>());
        if status.trim() != "0" || !as_printed {
            let page = page.file_name().unwrap().display();
            wrong.push(format!("{page}, {shell}: $ {line}\nstatus {status}, printed:\n{text}"));
        }
    }
    wrong
}

/// Compares output with what is printed: `…` in a line is any text, a line `…` any number of lines.
fn matches(printed: &[String], lines: &[&str]) -> bool {
    match printed.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first == "…" => (0..=lines.len()).any(|skipped| matches(rest, &lines[skipped..])),
        Some((first, rest)) => match lines.split_first() {
            Some((line, others)) => fits(first.trim_end(), line.trim_end()) && matches(rest, others),
            None => false,
        },
    }
}

fn fits(printed: &str, line: &str) -> bool {
    let mut parts = printed.split('…');
    let Some(mut rest) = parts.next().and_then(|start| line.strip_prefix(start)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else { return rest.is_empty() };
    for part in between {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

/// Makes a repository of the flake and the corpus.
fn copy_of_this_tree(directory: &Path) {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::create_dir(directory).expect("the directory is new");
    let repository = gix::init(directory).expect("a repository can be made");
    let entries =
        vec![copy(&repository, &top.join("flake.nix"), directory), copy(&repository, &top.join("corpus"), directory)];
    let tree = tree(&repository, entries);
    let head = commit(&repository, tree, None, 1_000_000_000);
    let git = directory.join(".git");
    fs::create_dir_all(git.join("refs/heads")).expect("the repository can be written");
    fs::write(git.join("HEAD"), "ref: refs/heads/main\n").expect("the repository can be written");
    fs::write(git.join("refs/heads/main"), format!("{head}\n")).expect("the repository can be written");
    let mut index = repository.index_from_tree(&tree).expect("the tree was written");
    index.write(gix::index::write::Options::default()).expect("the repository can be written");
}

/// Copies a file or directory into `to`, and returns its entry in the repository.
fn copy(repository: &gix::Repository, from: &Path, to: &Path) -> Entry {
    let name = from.file_name().unwrap();
    let to = to.join(name);
    let (kind, oid) = if from.is_dir() {
        fs::create_dir(&to).unwrap();
        let inner = fs::read_dir(from).unwrap().map(|entry| copy(repository, &entry.unwrap().path(), &to));
        (EntryKind::Tree, tree(repository, inner.collect()))
    } else {
        fs::copy(from, &to).unwrap();
        let executable =
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(from).unwrap().permissions()) & 0o100 != 0;
        let kind = if executable { EntryKind::BlobExecutable } else { EntryKind::Blob };
        (kind, repository.write_blob(fs::read(from).unwrap()).expect("objects can be written").detach())
    };
    Entry { mode: kind.into(), filename: name.to_str().unwrap().into(), oid }
}

fn tree(repository: &gix::Repository, mut entries: Vec<Entry>) -> gix::ObjectId {
    entries.sort();
    repository.write_object(gix::objs::Tree { entries }).expect("objects can be written").detach()
}

#[test]
fn output_is_compared_with_what_is_printed() {
    let check = |printed: &[&str], lines: &[&str]| {
        matches(&printed.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>(), lines)
    };
    assert!(check(&["a …", "…", "end"], &["a b", "x", "y", "end"]));
    assert!(check(&["…/store/…-x"], &["/eval/store/abc-x"]));
    assert!(!check(&["a"], &["a", "b"]) && !check(&["a", "…"], &["b"]) && !check(&["…x"], &["xy"]));
}
