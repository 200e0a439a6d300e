//! Attributes of a derivation: from the set to a [`Draft`].

use super::outputs::ingestion;
use crate::builtins::expect::lossy;
use crate::builtins::features::require;
use crate::builtins::json::write_text;
use crate::error::{Error, FrameKind, Result};
use crate::symbol::Symbol;
use crate::value::{Attr, Attrs, ContextBuilder};
use crate::vm::{Coercion, Evaluator};

/// Contents of the attributes, from which a [`Derivation`] is made.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) builder: Option<Vec<u8>>,
    pub(super) system: Option<Vec<u8>>,
    pub(super) args: Vec<Vec<u8>>,
    /// Sorted by name, except `__json`.
    pub(super) env: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) outputs: Option<Vec<String>>,
    pub(super) output_hash: Option<String>,
    pub(super) output_hash_algorithm: Option<String>,
    pub(super) output_hash_mode: Option<String>,
    /// Outputs are named by their content, which the build determines.
    pub(super) content_addressed: bool,
    /// Outputs are named by their content, and the builder has network access.
    pub(super) impure: bool,
}

pub(super) fn read_attributes(
    ev: &mut Evaluator,
    set: Attrs,
    name: &str,
    context: &mut ContextBuilder,
) -> Result<Draft> {
    let flag = |ev: &mut Evaluator, name: &[u8]| match set.get(Symbol::new(name)) {
        Some(value) => ev.expect_forced_bool(value),
        None => Ok(false),
    };
    let structured = flag(ev, b"__structuredAttrs")?;
    let ignore_nulls = flag(ev, b"__ignoreNulls")?;
    let draft = Draft {
        content_addressed: flag(ev, b"__contentAddressed")?,
        impure: flag(ev, b"__impure")?,
        ..Draft::default()
    };
    let features = ev.shared.options.features;
    require(features.ca_derivations || !draft.content_addressed, "ca-derivations")?;
    require(features.impure_derivations || !draft.impure, "impure-derivations")?;
    if draft.content_addressed && draft.impure {
        return Err(Error::other("lang::derivation", "derivation cannot be both content-addressed and impure"));
    }
    let mut reader = Reader { draft, json: structured.then(|| b"{".to_vec()), context };
    for attr in set.sorted() {
        let key = attr.name.name();
        if ignore_nulls && ev.force(attr.value)?.is_null() {
            continue;
        }
        // Nix leaves these out of the environment, regardless of their value.
        if matches!(key, b"__ignoreNulls" | b"__contentAddressed" | b"__impure") {
            continue;
        }
        reader.attribute(ev, attr).map_err(|error| {
            let what = format!("while evaluating attribute '{}' of derivation '{name}'", lossy(key));
            error.at(attr.pos, key.len() as u32).frame(attr.pos, FrameKind::Note(what))
        })?;
    }
    let Reader { mut draft, json, .. } = reader;
    if let Some(mut json) = json {
        json.push(b'}');
        draft.env.push((b"__json".to_vec(), json));
    }
    if let Some(outputs) = &draft.outputs {
        for (index, output) in outputs.iter().enumerate() {
            if outputs[..index].contains(output) {
                return Err(Error::other("lang::derivation", format!("duplicate derivation output '{output}'")));
            }
            // `drvPath` is another attribute of the result, and `drv` means the derivation in
            // references.
            if matches!(output.as_str(), "drv" | "drvPath") {
                return Err(Error::other("lang::derivation", format!("invalid derivation output name '{output}'")));
            }
        }
        if outputs.is_empty() {
            return Err(Error::other("lang::derivation", "derivation cannot have an empty set of outputs"));
        }
    }
    Ok(draft)
}

/// Destination of the attributes while they are read.
struct Reader<'c> {
    draft: Draft,
    /// With `__structuredAttrs`: the object that becomes `__json`, without its end.
    json: Option<Vec<u8>>,
    context: &'c mut ContextBuilder,
}

impl Reader<'_> {
    fn attribute(&mut self, ev: &mut Evaluator, attr: Attr) -> Result<()> {
        let key = attr.name.name();
        let how = Coercion { copy_to_store: true, more: true };
        if key == b"args" {
            for &argument in ev.expect_list(attr.value)?.values() {
                let mut text = Vec::new();
                ev.coerce(argument, how, &mut text, self.context)?;
                self.draft.args.push(text);
            }
            return Ok(());
        }
        if self.json.is_some() {
            return if key == b"__structuredAttrs" { Ok(()) } else { self.structured_attribute(ev, attr) };
        }
        let mut text = Vec::new();
        ev.coerce(attr.value, how, &mut text, self.context)?;
        if key == b"outputs" {
            let words = lossy(&text);
            self.draft.outputs = Some(words.split_ascii_whitespace().map(str::to_owned).collect());
        } else {
            self.draft.set_special(key, &text)?;
        }
        self.draft.env.push((key.to_vec(), text));
        Ok(())
    }

    fn structured_attribute(&mut self, ev: &mut Evaluator, attr: Attr) -> Result<()> {
        const SPECIAL: [&[u8]; 5] = [b"builder", b"system", b"outputHash", b"outputHashAlgo", b"outputHashMode"];
        let key = attr.name.name();
        let json = self.json.get_or_insert_default();
        if json.len() > 1 {
            json.push(b',');
        }
        write_text(key, json)?;
        json.push(b':');
        ev.write_json(attr.value, true, json, self.context)?;
        if key == b"outputs" {
            let mut outputs = Vec::new();
            for &output in ev.expect_list(attr.value)?.values() {
                outputs.push(lossy(ev.expect_string(output)?.bytes()));
            }
            self.draft.outputs = Some(outputs);
        } else if SPECIAL.contains(&key) {
            let text = ev.expect_string(attr.value)?;
            self.context.add(text.context());
            self.draft.set_special(key, text.bytes())?;
        }
        Ok(())
    }
}

impl Draft {
    fn set_special(&mut self, key: &[u8], text: &[u8]) -> Result<()> {
        match key {
            b"builder" => self.builder = Some(text.to_vec()),
            b"system" => self.system = Some(text.to_vec()),
            b"outputHash" => self.output_hash = Some(lossy(text)),
            b"outputHashAlgo" => self.output_hash_algorithm = Some(lossy(text)),
            b"outputHashMode" => {
                let mode = lossy(text);
                ingestion(&mode)?;
                self.output_hash_mode = Some(mode);
            }
            _ => {}
        }
        Ok(())
    }
}
