//! `store info`: describes the store.

use super::inside;
use crate::cli::Global;
use crate::print::say;
use crate::progress::bytes;
use crate::report::Failure;
use clap::Args;

#[derive(Debug, Args)]
pub struct Info {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl Info {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let store = inside::open(global)?;
        let (mut count, mut total) = (0u64, 0u64);
        for path in store.all_paths()? {
            count += 1;
            total += store.path_info(&path)?.map_or(0, |info| info.bytes);
        }
        let roots = store.roots()?.len();
        let free = os::space::free_bytes_at(store.root());
        let logical = store.model().store_dir();
        if self.json {
            return say!(
                "{}",
                serde_json::json!({
                    "version": 1, "root": store.root(), "storeDir": logical, "program": env!("CARGO_PKG_VERSION"),
                    "paths": count, "pathsBytes": total, "roots": roots, "freeBytes": free,
                })
            );
        }
        say!("root    {}", store.root().display())?;
        say!("paths   {count}, {} before sharing files", bytes(total))?;
        say!("roots   {roots}")?;
        match free {
            Some(free) => say!("free    {}", bytes(free)),
            None => Ok(()),
        }
    }
}
