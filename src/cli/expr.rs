//! `expr`: evaluates an expression or a flake output, and prints its value.

use clap::Args;

use super::session::CommandSession;
use super::{Evaluation, Global};
use crate::print;
use crate::report::Failure;

#[derive(Debug, Args)]
pub struct Expr {
    /// Expression, or flake output `.#attr`; an attribute with `-f` or `--expr`
    #[arg(value_name = "EXPRESSION")]
    pub expression: Option<String>,
    #[command(flatten)]
    pub evaluation: Evaluation,
    /// Print as JSON
    #[arg(long, conflicts_with = "raw")]
    pub json: bool,
    /// Print a string without quotes and a final newline
    #[arg(long)]
    pub raw: bool,
}

impl Expr {
    pub fn run(mut self, global: &Global) -> Result<(), Failure> {
        // `.#a` and `/x#a` can only be references: as expressions, a comment would hide the rest.
        let source = &mut self.evaluation.source;
        let named = source.file.is_some() || source.expr.is_some();
        let reference =
            self.expression.as_deref().is_some_and(|text| text.starts_with(['.', '/']) && text.contains('#'));
        if !named && !reference {
            source.expr = self.expression.take();
        }
        let session = CommandSession::quiet(global, &self.evaluation)?;
        let names: Vec<String> = self.expression.iter().cloned().collect();
        let mut output = Vec::new();
        for installable in session.installables(&names)? {
            let value = session.value(&installable)?;
            if self.json {
                output.extend(session.evaluate(|evaluator| evaluator.json(value))?);
                output.push(b'\n');
            } else if self.raw {
                output.extend(session.evaluate(|evaluator| Ok(evaluator.coerce_str(value)?.bytes().to_vec()))?);
            } else {
                session.evaluate(|evaluator| evaluator.force_deep(value))?;
                output.extend(session.evaluate(|evaluator| evaluator.print(value))?);
                output.push(b'\n');
            }
        }
        session.write_derivations()?;
        if self.raw { print::raw(&output) } else { print::bytes(&output) }
    }
}
