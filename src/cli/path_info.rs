//! `path-info`: prints the store's records of paths.

use super::session::{CommandSession, not_built};
use super::{Global, Installables};
use crate::print::say;
use crate::progress::bytes;
use crate::report::Failure;
use clap::Args;
use model::StoreModel;

#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct PathInfo {
    /// Include everything that the paths refer to
    #[arg(short, long)]
    pub recursive: bool,
    /// Print the size of the closure too, in bytes
    #[arg(short = 'S', long)]
    pub closure_size: bool,
    /// Print the size too, in bytes
    #[arg(short, long)]
    pub size: bool,
    /// Print sizes as `1.4 MB`; `--help` is this command's help
    #[arg(short = 'h', long)]
    pub human_readable: bool,
    /// Print the whole records as JSON
    #[arg(long)]
    pub json: bool,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    pub help: Option<bool>,
    #[command(flatten)]
    pub installables: Installables,
}

impl PathInfo {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let session = CommandSession::quiet(global, &self.installables.evaluation)?;
        let store = &session.store;
        let mut paths = session.paths(&self.installables.names())?;
        if self.recursive {
            for path in paths.clone() {
                paths.extend(store.closure(&path)?);
            }
        }
        let mut known = Vec::new();
        for path in &paths {
            let Some(info) = store.path_info(path)? else {
                return Err(not_built(path));
            };
            let closure_size = if self.closure_size || self.json {
                let mut total = 0;
                for member in store.closure(path)? {
                    total += store.path_info(&member)?.map_or(0, |info| info.bytes);
                }
                Some(total)
            } else {
                None
            };
            if self.json {
                known.push(serde_json::json!({
                    "path": StoreModel::Native.print(path),
                    "physicalPath": store.physical_path(path),
                    "sizeBytes": info.bytes,
                    "closureSizeBytes": closure_size,
                    "contents": info.node.fingerprint().hex(),
                    "deriver": info.deriver.as_ref().map(|drv| StoreModel::Native.print(drv)),
                    "references": info.references.iter().map(|path| StoreModel::Native.print(path)).collect::<Vec<_>>(),
                    "registrationTime": info.registered_at,
                }));
                continue;
            }
            let mut line = store.physical_path(path).display().to_string();
            let shown = |size: u64| if self.human_readable { bytes(size) } else { size.to_string() };
            if self.size {
                line.push_str(&format!("\t{}", shown(info.bytes)));
            }
            if let Some(closure_size) = closure_size {
                line.push_str(&format!("\t{}", shown(closure_size)));
            }
            say!("{line}")?;
        }
        if self.json {
            say!("{}", serde_json::json!({ "version": 1, "paths": known }))?;
        }
        Ok(())
    }
}
