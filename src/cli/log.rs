//! `log`: prints the log of a build.

use super::session::CommandSession;
use super::{Evaluation, Global};
use crate::print;
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
        let log = builder::open_log(&session.store, drv)?.ok_or_else(|| {
            Failure::new(format!("there is no log of `{drv}` in {}", session.store.root().display())).help(
                "was it built yet? The log of a build that was cut off is that of the reused build; fetches have none",
            )
        })?;
        print::log(log, &format!("the log of {drv}"), self.raw)
    }
}
