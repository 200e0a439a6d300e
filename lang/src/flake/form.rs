//! The form that Nix requires of `flake.nix`: a literal set with known attributes, whose inputs are
//! written out. Here any expression does, so a flake of another form gets a warning.

use crate::builtins::expect::lossy;
use crate::error::Result;
use crate::host::Severity;
use crate::syntax::ast::{Binding, BindingValue, Bindings, Expr, ExprKind};
use crate::syntax::{ParseOptions, parse};
use crate::vm::{Evaluator, LOCK};

/// Warns when Nix would refuse the `flake.nix` in a directory.
pub(super) fn check(ev: &mut Evaluator, dir: &[u8]) -> Result<()> {
    let path = ev.checked_path(&[dir, b"/flake.nix"].concat())?;
    let text = ev.read_file(&path)?;
    let arena = bumpalo::Bump::new();
    let options = ParseOptions { pipe_operators: ev.shared.options.pipe_operators, ..ParseOptions::default() };
    let parsed = parse(&arena, &text, options);
    if parsed.errors.is_empty()
        && let Err(why) = flake(&parsed.expr)
    {
        ev.warn_once(&format!("Nix refuses this flake: in '{}', {why}", path.display()));
    }
    Ok(())
}

type Checked = std::result::Result<(), String>;

fn flake(expr: &Expr<'_>) -> Checked {
    let ExprKind::Attrs(set) = expr.kind else { return Err("there is an expression around the set".to_owned()) };
    for (name, value) in members(set, "the flake")? {
        match (name.as_str(), value.map(|value| value.kind)) {
            ("inputs", Some(ExprKind::Attrs(inputs))) => self::inputs(inputs, "inputs")?,
            ("outputs", Some(ExprKind::Lambda(_))) | ("description", Some(ExprKind::Str(_))) => {}
            ("nixConfig", Some(ExprKind::Attrs(settings))) => {
                for (name, value) in members(settings, "nixConfig")? {
                    literal(value, &format!("nixConfig.{name}"))?;
                }
            }
            ("inputs" | "outputs" | "description" | "nixConfig", _) => return Err(computed(&name)),
            _ => return Err(format!("the attribute '{name}' is not known")),
        }
    }
    Ok(())
}

fn inputs(set: &Bindings<'_>, path: &str) -> Checked {
    for (name, input) in members(set, path)? {
        let path = format!("{path}.{name}");
        let Some(ExprKind::Attrs(input)) = input.map(|input| input.kind) else { return Err(computed(&path)) };
        for (name, value) in members(input, &path)? {
            match (name.as_str(), value.map(|value| value.kind)) {
                ("inputs", Some(ExprKind::Attrs(inner))) => inputs(inner, &format!("{path}.inputs"))?,
                _ => literal(value, &format!("{path}.{name}"))?,
            }
        }
    }
    Ok(())
}

fn literal(value: Option<Expr<'_>>, path: &str) -> Checked {
    let is_literal = match value.map(|value| value.kind) {
        Some(ExprKind::Str(_) | ExprKind::Int(_) | ExprKind::Uri(_) | ExprKind::Path(..) | ExprKind::List(_)) => true,
        Some(ExprKind::Variable(name)) => matches!(name.name(), b"true" | b"false" | b"null"),
        _ => false,
    };
    if is_literal { Ok(()) } else { Err(computed(path)) }
}

fn computed(path: &str) -> String {
    format!("'{path}' is computed, and has to be written out")
}

/// Returns the names and values of a set; no value for one that is inherited.
fn members<'a>(
    set: &Bindings<'a>,
    path: &str,
) -> std::result::Result<impl Iterator<Item = (String, Option<Expr<'a>>)> + use<'a>, String> {
    if !set.dynamics.is_empty() {
        return Err(format!("a name in '{path}' is computed, and has to be written out"));
    }
    Ok(set.statics.iter().map(|Binding { name, value, .. }| {
        let value = match value {
            BindingValue::Expr(expr) => Some(*expr),
            BindingValue::Inherit | BindingValue::InheritFrom(_) => None,
        };
        (lossy(name.name()), value)
    }))
}

impl Evaluator {
    /// Shows a warning, unless it was shown before.
    pub(super) fn warn_once(&self, text: &str) {
        if self.shared.warned.lock().expect(LOCK).insert(text.to_owned()) {
            self.shared.host.message(Severity::Warning, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> String {
        let arena = bumpalo::Bump::new();
        let parsed = parse(&arena, text.as_bytes(), ParseOptions::default());
        assert!(parsed.errors.is_empty(), "{text}");
        flake(&parsed.expr).err().unwrap_or_default()
    }

    #[test]
    fn nix_takes_literal_flakes_alone() {
        for (text, why) in [
            ("{ outputs = { self }: { }; }", ""),
            ("rec { description = \"d\"; outputs = _: { }; }", ""),
            ("{ inputs.a.url = \"x\"; inputs.b = { flake = false; url = ./x; }; outputs = _: { }; }", ""),
            ("{ inputs.a.inputs.b.follows = \"c\"; nixConfig.l = [ (1 + 1) ]; outputs = _: { }; }", ""),
            ("let x = 1; in { outputs = _: x; }", "there is an expression around the set"),
            ("{ foo = 1; outputs = _: { }; }", "the attribute 'foo' is not known"),
            ("{ outputs = import ./x.nix; }", "'outputs' is computed, and has to be written out"),
            (
                "{ description = \"a\" + \"b\"; outputs = _: { }; }",
                "'description' is computed, and has to be written out",
            ),
            ("{ inputs = { } // { }; outputs = _: { }; }", "'inputs' is computed, and has to be written out"),
            (
                "{ inputs.a.url = \"x\" + \"y\"; outputs = _: { }; }",
                "'inputs.a.url' is computed, and has to be written out",
            ),
            ("{ inputs.a = f 1; outputs = _: { }; }", "'inputs.a' is computed, and has to be written out"),
            ("{ inputs.${a} = { }; outputs = _: { }; }", "a name in 'inputs' is computed, and has to be written out"),
            ("{ nixConfig.a = 1 + 1; outputs = _: { }; }", "'nixConfig.a' is computed, and has to be written out"),
        ] {
            assert_eq!(check(text), why, "{text}");
        }
    }
}
