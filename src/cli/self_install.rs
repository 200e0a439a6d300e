//! `self install`: this program under its three names.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::print::say;
use crate::report::Failure;

#[derive(Debug, Subcommand)]
pub enum SelfCommand {
    /// Put this program on a PATH under its names `eval`, `ev` and `build`
    Install(Install),
}

#[derive(Debug, Args)]
pub struct Install {
    /// The folder to install to [default: the folder this program lies in]
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
            Failure::io("cannot tell the path of this program:", Path::new("/proc/self/exe"), cause)
        })?;
        let folder = match to {
            Some(folder) => folder,
            None => program.parent().unwrap_or(Path::new("/")).to_owned(),
        };
        // Programs are for everybody to run, and not for others to exchange, whatever the umask.
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(&folder);
        made.map_err(|cause| Failure::io("cannot make", &folder, cause))?;
        let main = folder.join(MAIN_NAME);
        if !same_file(&main, &program) {
            let ours = OTHER_NAMES.iter().any(|name| is_link_to_main(&folder.join(name)));
            refuse_foreign(&main, force || ours)?;
            let temporary = folder.join(format!(".{MAIN_NAME}-{}", std::process::id()));
            std::fs::copy(&program, &temporary).map_err(|cause| Failure::io("cannot write", &temporary, cause))?;
            std::fs::rename(&temporary, &main).map_err(|cause| Failure::io("cannot write", &main, cause))?;
        }
        say!("{}", main.display())?;
        for name in OTHER_NAMES {
            let link = folder.join(name);
            if is_link_to_main(&link) {
                say!("{}", link.display())?;
                continue;
            }
            refuse_foreign(&link, force)?;
            let temporary = folder.join(format!(".{name}-{}", std::process::id()));
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

/// Whether it is one of our other names: a program `eval` beside such a link is an older copy of ours.
fn is_link_to_main(link: &Path) -> bool {
    std::fs::read_link(link).is_ok_and(|target| target == Path::new(MAIN_NAME))
}

/// Keeps other people's programs.
fn refuse_foreign(path: &Path, force: bool) -> Result<(), Failure> {
    if force || std::fs::symlink_metadata(path).is_err() {
        return Ok(());
    }
    Err(Failure::new(format!("`{}` exists already", path.display()))
        .help("replace it with `--force`, or choose another folder with `--to`"))
}
