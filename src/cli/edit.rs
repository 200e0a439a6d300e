//! `edit`: opens the definition of a package in an editor.

use super::session::CommandSession;
use super::{Evaluation, Global};
use crate::report::Failure;
use clap::Args;
use lang::Value;
use lang::source::Origin;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Debug, Args)]
pub struct Edit {
    /// Package whose definition to open: `.#attr`, or an attribute with `-f`
    #[arg(value_name = "INSTALLABLE", default_value = ".")]
    pub installable: String,
    #[command(flatten)]
    pub evaluation: Evaluation,
}

/// Returns the position of an attribute that each derivation has from its definition, as text.
const POSITION: &[u8] = br#"
value:
let
  positions = builtins.filter (position: position != null) (
    map (name: builtins.unsafeGetAttrPos name value) [ "pname" "name" "version" "src" "builder" "system" ]
  );
  first = builtins.head positions;
in
if builtins.isAttrs value && positions != [ ] then "${first.file}:${toString first.line}" else ""
"#;

impl Edit {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let editor = ["EDITOR", "VISUAL"]
            .into_iter()
            .find_map(|name| std::env::var(name).ok().filter(|text| !text.trim().is_empty()));
        let Some(editor) = editor else {
            return Err(Failure::usage("no editor is known").help("set `EDITOR` to one, such as `vi`"));
        };
        let (file, line) = self.position(global)?;
        let mut words = editor.split_whitespace();
        let program = words.next().expect("the text is not blank");
        let mut command = Command::new(program);
        command.args(words);
        if ["emacs", "nano", "vim", "vi", "kak", "hx", "micro"].iter().any(|name| editor.contains(name)) {
            command.arg(format!("+{line}"));
        }
        // It needs the terminal and its signals, and nothing is left to do here.
        let cause = command.arg(&file).exec();
        Err(Failure::io("cannot start the editor", Path::new(program), cause))
    }

    /// Returns the file and the line of the definition.
    fn position(&self, global: &Global) -> Result<(PathBuf, u32), Failure> {
        let session = CommandSession::quiet(global, &self.evaluation)?;
        let installables = session.installables(std::slice::from_ref(&self.installable))?;
        let none = || Failure::new(format!("no position is known of `{}`", self.installable));
        let value = session.value(installables.first().ok_or_else(none)?)?;
        let of_meta = meta_position(&session, value);
        let text = match of_meta {
            Some(text) => text,
            None => session.evaluate(|evaluator| {
                let find = evaluator.eval_text(POSITION, Origin::CommandLine, Path::new("/"))?;
                let found = evaluator.call(find, &[value])?;
                evaluator.string_of(found)
            })?,
        };
        let (file, line) = text.rsplit_once(':').ok_or_else(none)?;
        let line = line.parse().map_err(|_| none())?;
        let file = match session.store.parse_any(file) {
            Ok((path, rest)) => session.store.physical_path(&path).join(rest.trim_start_matches('/')),
            Err(_) => PathBuf::from(file),
        };
        match file.exists() {
            true => Ok((file, line)),
            false => Err(Failure::new(format!("`{}`, which defines it, is not a file here", file.display()))),
        }
    }
}

/// Returns `meta.position` when it is a text.
fn meta_position(session: &CommandSession, value: Value) -> Option<String> {
    let found = session.evaluate(|evaluator| {
        let Some(meta) = evaluator.attr(value, "meta")? else { return Ok(None) };
        let Some(position) = evaluator.attr(meta, "position")? else { return Ok(None) };
        evaluator.string_of(position).map(Some)
    });
    found.ok().flatten()
}
