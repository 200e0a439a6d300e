//! `log`: what a build printed.

use clap::Args;

use super::{Building, Global, Source};
use crate::config;
use crate::evaluate::{Session, Wanted};
use crate::print;
use crate::report::Failure;

#[derive(Debug, Args)]
pub struct Log {
    /// Whose log: `.#attr`, a `.drv`, or an output's path
    #[arg(value_name = "INSTALLABLE", default_value = ".")]
    pub installable: String,
    /// Print the bytes as they were printed, to a terminal too: control characters take effect there
    #[arg(long)]
    pub raw: bool,
    #[command(flatten)]
    pub source: Source,
    #[command(flatten)]
    pub building: Building,
}

impl Log {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let session = Session::quiet(global, &self.source, &self.building)?;
        let mut drvs = Vec::new();
        for wanted in session.resolve(&self.source, std::slice::from_ref(&self.installable))? {
            match wanted {
                Wanted::Derivation { drv, .. } => drvs.push(drv),
                Wanted::Path(path) => drvs.extend(session.store.path_info(&path)?.and_then(|info| info.deriver)),
            }
        }
        let Some(drv) = drvs.first() else {
            return Err(Failure::new(format!("`{}` was not built here, so it has no log", self.installable)));
        };
        let log = builder::open_log(&session.store, drv)?.ok_or_else(|| {
            Failure::new(format!(
                "there is no log of `{drv}` in {}",
                config::store_root(global).map(|r| r.display().to_string()).unwrap_or_default()
            ))
            .help("was it built yet? What was cut off has its log with the build it was taken from; fetches have none")
        })?;
        print::log(log, &format!("the log of {drv}"), self.raw)
    }
}
