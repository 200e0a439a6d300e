//! `store cat`: prints a file of the store.

use super::inside;
use crate::cli::Global;
use crate::print;
use crate::report::Failure;
use clap::Args;
use std::fs::File;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct Cat {
    /// File in the store, also through a link such as `./result/bin/x`
    pub path: PathBuf,
}

impl Cat {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let store = inside::open(global)?;
        let (_, path) = inside::locate(&store, &self.path)?;
        let meta = std::fs::symlink_metadata(&path).map_err(|cause| Failure::io("cannot read", &path, cause))?;
        if !meta.is_file() {
            let kind = if meta.is_symlink() { "a symbolic link" } else { "a directory" };
            return Err(Failure::new(format!("`{}` is {kind}", self.path.display())).help("`ev store ls -l` shows it"));
        }
        let file = File::open(&path).map_err(|cause| Failure::io("cannot read", &path, cause))?;
        print::log(file, &path.display().to_string(), false)
    }
}
