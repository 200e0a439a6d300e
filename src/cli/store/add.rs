//! `store add`: adds a file or a directory.

use crate::cli::Global;
use crate::cli::session::console;
use crate::print::say;
use crate::report::Failure;
use clap::Args;
use model::StorePathName;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct Add {
    /// File or directory to add
    pub path: PathBuf,
    /// Name in the store [default: the file's name]
    #[arg(long)]
    pub name: Option<String>,
}

impl Add {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let store = global.store_settings()?.open(&console(global))?;
        let name = match (&self.name, self.path.canonicalize()) {
            (Some(name), _) => name.clone(),
            (None, Ok(path)) => path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            (None, Err(cause)) => return Err(Failure::io("cannot find", &self.path, cause)),
        };
        let name = StorePathName::new(&name)
            .map_err(|error| Failure::new(error.to_string()).help("choose a name with `--name`"))?;
        let path = store.add_source(&self.path, name, None)?;
        say!("{}", store.physical_path(&path).display())?;
        Ok(())
    }
}
