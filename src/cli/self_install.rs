//! `self`: installs this program under its three names, with its manual pages.

use crate::print::say;
use crate::report::Failure;
use clap::{Args, Command, Subcommand};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub enum SelfCommand {
    /// Install this program under its names `eval`, `ev` and `build`, with its manual pages
    Install(Install),
    /// Write the manual pages of all commands to a directory
    Man(Man),
}

#[derive(Debug, Args)]
pub struct Man {
    /// Directory to write to, such as `~/.local/share/man/man1`
    pub dir: PathBuf,
}

#[derive(Debug, Args)]
pub struct Install {
    /// Directory to install to; manual pages go to `share/man/man1` beside a directory `bin`
    /// [default: the directory of this program]
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// Replace other programs of these names
    #[arg(long)]
    pub force: bool,
}

const MAIN_NAME: &str = "eval";
const OTHER_NAMES: [&str; 2] = ["ev", "build"];

impl SelfCommand {
    pub fn run(self) -> Result<(), Failure> {
        match self {
            SelfCommand::Install(install) => install.run(),
            SelfCommand::Man(Man { dir }) => {
                let pages = write_pages(&dir)?;
                say!("{}\t{pages} pages", dir.display())
            }
        }
    }
}

impl Install {
    fn run(self) -> Result<(), Failure> {
        let Install { to, force } = self;
        let program = std::env::current_exe().map_err(|cause| {
            Failure::io("cannot determine the path of this program:", Path::new("/proc/self/exe"), cause)
        })?;
        let directory = match to {
            Some(directory) => directory,
            None => program.parent().unwrap_or(Path::new("/")).to_owned(),
        };
        // Every user may run the programs and none may replace them, regardless of the umask.
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(&directory);
        made.map_err(|cause| Failure::io("cannot make", &directory, cause))?;
        let main = directory.join(MAIN_NAME);
        if !same_file(&main, &program) {
            let ours = OTHER_NAMES.iter().any(|name| is_link_to_main(&directory.join(name)));
            refuse_foreign(&main, force || ours)?;
            let temporary = directory.join(format!(".{MAIN_NAME}-{}", std::process::id()));
            std::fs::copy(&program, &temporary).map_err(|cause| Failure::io("cannot write", &temporary, cause))?;
            std::fs::rename(&temporary, &main).map_err(|cause| Failure::io("cannot write", &main, cause))?;
        }
        say!("{}", main.display())?;
        for name in OTHER_NAMES {
            let link = directory.join(name);
            if is_link_to_main(&link) {
                say!("{}", link.display())?;
                continue;
            }
            refuse_foreign(&link, force)?;
            let temporary = directory.join(format!(".{name}-{}", std::process::id()));
            std::os::unix::fs::symlink(MAIN_NAME, &temporary)
                .and_then(|()| std::fs::rename(&temporary, &link))
                .map_err(|cause| Failure::io("cannot link", &link, cause))?;
            say!("{}", link.display())?;
        }
        if let Some(pages) = manual_directory(&directory) {
            write_pages(&pages)?;
            say!("{}", pages.display())?;
        }
        Ok(())
    }
}

/// Returns the directory of manual pages that belongs to a directory `bin`.
fn manual_directory(programs: &Path) -> Option<PathBuf> {
    let whole = std::path::absolute(programs).ok()?;
    (whole.file_name()? == "bin").then(|| programs.parent().unwrap_or(Path::new("")).join("share/man/man1"))
}

/// Writes the manual pages of all commands, and returns their number.
fn write_pages(directory: &Path) -> Result<usize, Failure> {
    let failure = |cause| Failure::io("cannot write to", directory, cause);
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(failure)?;
    let mut command = super::help::command().name("ev").disable_help_subcommand(true);
    command.build();
    write_page(&command, "ev", directory).map_err(failure)
}

/// Writes the pages of a command and of those below it.
fn write_page(command: &Command, name: &str, directory: &Path) -> std::io::Result<usize> {
    let mut page = Vec::new();
    // The name of a page has dashes, so that `man ev-build` finds it.
    let titled = command.clone().name(name.to_owned().leak() as &'static str);
    clap_mangen::Man::new(titled).title(name.to_owned()).render(&mut page)?;
    std::fs::write(directory.join(format!("{name}.1")), page)?;
    let mut count = 1;
    for each in command.get_subcommands().filter(|each| !each.is_hide_set()) {
        count += write_page(each, &format!("{name}-{}", each.get_name()), directory)?;
    }
    Ok(count)
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// Returns whether a link is one of our other names: a program `eval` beside one is an older copy
/// of this program.
fn is_link_to_main(link: &Path) -> bool {
    std::fs::read_link(link).is_ok_and(|target| target == Path::new(MAIN_NAME))
}

/// Fails rather than replace another program.
fn refuse_foreign(path: &Path, force: bool) -> Result<(), Failure> {
    if force || std::fs::symlink_metadata(path).is_err() {
        return Ok(());
    }
    Err(Failure::new(format!("`{}` exists already", path.display()))
        .help("replace it with `--force`, or choose another directory with `--to`"))
}
