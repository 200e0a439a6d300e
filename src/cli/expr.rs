//! `expr`: evaluates an expression or a flake output, and prints its value.

use super::session::CommandSession;
use super::{Evaluation, Global};
use crate::print;
use crate::report::Failure;
use clap::Args;
use lang::Display;
use lang::flake::FlakeRef;

#[derive(Debug, Args)]
pub struct Expr {
    /// Expression, or flake output `.#attr`; an attribute with `-f` or `--expr`
    #[arg(value_name = "EXPRESSION")]
    pub expression: Option<String>,
    /// Print as JSON
    #[arg(long, conflicts_with = "raw")]
    pub json: bool,
    /// Print a string without quotes and a final newline
    #[arg(long)]
    pub raw: bool,
    #[command(flatten)]
    pub evaluation: Evaluation,
}

/// Returns whether a text is a flake reference, with an attribute such as `.#a` and
/// `path:dir?dir=sub#a`, or without one such as `github:owner/repo`. As an expression it would be one
/// word with a comment after it, or a URL. A name or a path alone is an expression.
fn is_reference(text: &str) -> bool {
    let Some((head, _)) = text.split_once('#') else { return FlakeRef::is_unmistakable(text) };
    let is_word = head.chars().all(|each| each.is_ascii_alphanumeric() || ":/.-_~%?&=+@".contains(each));
    head.starts_with(['.', '/']) || is_word && (head.contains(':') || FlakeRef::parse(head).is_ok())
}

impl Expr {
    pub fn run(mut self, global: &Global) -> Result<(), Failure> {
        let source = &mut self.evaluation.source;
        let named = source.file.is_some() || source.expr.is_some();
        let reference = self.expression.as_deref().is_some_and(is_reference);
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
                let whole = Display { levels: usize::MAX, lines: false, shows_errors: false };
                output.extend(session.evaluate(|evaluator| evaluator.display(value, whole))?);
                output.push(b'\n');
            }
        }
        session.write_derivations()?;
        if self.raw { print::raw(&output) } else { print::bytes(&output) }
    }
}

#[cfg(test)]
mod tests {
    use super::is_reference;

    #[test]
    fn references_have_one_word_before_the_sign() {
        let references = [
            ".#a",
            "/x y#a",
            "nixpkgs#hello",
            "path:./dir?dir=sub#a",
            "github:owner/repo/v1#a",
            "path:/dir",
            "github:o/r",
            "git+file:///r?dir=s",
            "https://h/a.tar.gz",
            ".",
        ];
        references.iter().for_each(|text| assert!(is_reference(text), "{text}"));
        let expressions = [
            "1 # one",
            "1 + 1 # two",
            "\"a#b\"",
            "{ a = 1; }#",
            "#a",
            "f x#a",
            "a",
            "./a",
            "x:x",
            "x: x",
            "a:b",
            "{ }:1",
            "/a",
        ];
        expressions.iter().for_each(|text| assert!(!is_reference(text), "{text}"));
    }
}
