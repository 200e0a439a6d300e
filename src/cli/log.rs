//! `log`: prints the log of a build.

use super::session::CommandSession;
use super::{Evaluation, Global};
use crate::print::{self, remark};
use crate::report::Failure;
use clap::Args;
use workspace::Wanted;

#[derive(Debug, Args)]
pub struct Log {
    /// Derivation whose log to print: `.#attr`, a `.drv`, or the path of an output
    #[arg(value_name = "INSTALLABLE", default_value = ".")]
    pub installable: String,
    /// Print the bytes unchanged, to a terminal too: control characters take effect there
    #[arg(long)]
    pub raw: bool,
    /// Continue with what a running build prints, until it ends
    #[arg(short = 'F', long)]
    pub follow: bool,
    #[command(flatten)]
    pub evaluation: Evaluation,
}

impl Log {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let session = CommandSession::quiet(global, &self.evaluation)?;
        let mut drvs = Vec::new();
        for wanted in session.resolve(std::slice::from_ref(&self.installable))? {
            match wanted {
                Wanted::Derivation { drv, .. } => drvs.push(drv),
                Wanted::Path(path) => drvs.extend(session.store.path_info(&path)?.and_then(|info| info.deriver)),
            }
        }
        let Some(drv) = drvs.first() else {
            return Err(Failure::new(format!("`{}` was not built here, so it has no log", self.installable)));
        };
        let name = format!("the log of {drv}");
        let unfinished = builder::open_unfinished_log(&session.store, drv, self.follow)?;
        let (running, killed) = match unfinished {
            Some(log) if log.is_running => (Some(log), None),
            other => (None, other),
        };
        if let Some(log) = running {
            return print::log(log, &name, self.raw);
        }
        let finished = builder::open_log(&session.store, drv)?;
        if let (None, Some(log)) = (&finished, killed) {
            remark!("the process that built it was killed");
            return print::log(log, &name, self.raw);
        }
        let log = finished.ok_or_else(|| {
            Failure::new(format!("there is no log of `{drv}` in {}", session.store.root().display())).help(
                "was it built yet? The log of a build that was cut off is that of the reused build; fetches have none",
            )
        })?;
        print::log(log, &name, self.raw)
    }
}
