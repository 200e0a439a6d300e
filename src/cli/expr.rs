//! `expr`: the value of an expression or a flake output.

use clap::Args;

use super::{Building, Global, Source};
use crate::evaluate::Session;
use crate::print;
use crate::report::Failure;

#[derive(Debug, Args)]
pub struct Expr {
    /// An expression, or `.#attr` for a flake's output; with `-f` or `--expr` an attribute
    #[arg(value_name = "EXPRESSION")]
    pub expression: Option<String>,
    #[command(flatten)]
    pub source: Source,
    #[command(flatten)]
    pub building: Building,
    /// Print as JSON
    #[arg(long, conflicts_with = "raw")]
    pub json: bool,
    /// Print a string as it is, without quotes and a final newline
    #[arg(long)]
    pub raw: bool,
}

impl Expr {
    pub fn run(mut self, global: &Global) -> Result<(), Failure> {
        // `.#a` and `/x#a` can only be references: a comment would swallow the rest. Anything else is an expression.
        let named = self.source.file.is_some() || self.source.expr.is_some();
        let reference =
            self.expression.as_deref().is_some_and(|text| text.starts_with(['.', '/']) && text.contains('#'));
        if !named && !reference {
            self.source.expr = self.expression.take();
        }
        let session = Session::quiet(global, &self.source, &self.building)?;
        let names: Vec<String> = self.expression.iter().cloned().collect();
        let mut output = Vec::new();
        for installable in session.installables(&self.source, &names)? {
            let value = session.value(&self.source, &installable)?;
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
