//! `completions SHELL`: a completion script on standard output.

use crate::print;
use crate::report::Failure;
use clap::Args;

#[derive(Debug, Args)]
pub struct Completions {
    /// The shell the script is for
    pub shell: clap_complete::Shell,
    /// The name to complete
    #[arg(long, default_value = "ev")]
    pub name: String,
}

impl Completions {
    pub fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::help::command(), self.name, &mut script);
        print::bytes(&script)
    }
}
