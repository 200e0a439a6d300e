//! `self install`: installs this program under its three names.

use crate::print::say;
use crate::report::Failure;
use clap::{Args, Subcommand};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub enum SelfCommand {
    /// Install this program under its names `eval`, `ev` and `build`
    Install(Install),
}

#[derive(Debug, Args)]
pub struct Install {
    /// Directory to install to [default: the directory of this program]
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
        let SelfCommand::Install(Install { to, force }) = self;
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
        Ok(())
    }
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
