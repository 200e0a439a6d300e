//! Values to strings, for interpolation, `toString` and derivation attributes.

use super::{Evaluator, LOCK};
use crate::error::{Error, Result};
use crate::symbol::Symbol;
use crate::value::{Context, ContextBuilder, ContextElement, List, Str, Value, View, type_with_article};
use model::path::Ingestion;
use model::{StorePath, StorePathName};

/// Values that are accepted besides strings.
#[derive(Clone, Copy)]
pub struct Coercion {
    /// A path is copied to the store and becomes the store path.
    pub copy_to_store: bool,
    /// Accepts numbers, booleans, null and lists too.
    pub more: bool,
}

impl Evaluator {
    /// Appends the text of `value` to `text`, and its context to `context`.
    pub(crate) fn coerce(
        &mut self,
        value: Value,
        how: Coercion,
        text: &mut Vec<u8>,
        context: &mut ContextBuilder,
    ) -> Result<()> {
        let value = self.force(value)?;
        match value.view() {
            View::String(string) => {
                // The collected text is copied once more in the end.
                self.expect_room(text.len().saturating_add(string.bytes().len()).saturating_mul(2))?;
                text.extend_from_slice(string.bytes());
                context.add(string.context());
            }
            View::Path(path) => {
                if how.copy_to_store {
                    let (path, path_context) = self.copy_to_store(path.bytes())?;
                    text.extend_from_slice(path.as_bytes());
                    context.add(path_context);
                } else {
                    text.extend_from_slice(path.bytes());
                }
            }
            View::Attrs(set) => {
                if let Some(to_string) = set.get(self.shared.names.to_string) {
                    let string = self.call(to_string, &[value])?;
                    return self.nested(|ev| ev.coerce(string, how, text, context));
                }
                match set.get(self.shared.names.out_path) {
                    Some(out_path) => return self.nested(|ev| ev.coerce(out_path, how, text, context)),
                    None => return Err(self.not_coercible(value)),
                }
            }
            View::Int(number) if how.more => text.extend_from_slice(number.to_string().as_bytes()),
            View::Float(number) if how.more => {
                text.extend_from_slice(crate::text::number::fixed(number).as_bytes());
            }
            View::Bool(true) if how.more => text.push(b'1'),
            View::Bool(false) | View::Null if how.more => {}
            View::List(list) if how.more => {
                self.expect_room(text.len().saturating_mul(2))?;
                let values = list.values();
                self.nested(|ev| {
                    for (index, &element) in values.iter().enumerate() {
                        ev.coerce(element, how, text, context)?;
                        let element = ev.force(element)?;
                        let empty = element.as_list().is_some_and(List::is_empty);
                        if index + 1 < values.len() && !empty {
                            text.push(b' ');
                        }
                    }
                    Ok(())
                })?;
            }
            _ => return Err(self.not_coercible(value)),
        }
        Ok(())
    }

    #[cold]
    fn not_coercible(&mut self, value: Value) -> Error {
        let shown = self.show(value);
        Error::type_mismatch(format!("cannot coerce {} to a string: {shown}", type_with_article(value)))
    }

    /// Returns the value as a string.
    pub(crate) fn coerce_to_string(&mut self, value: Value, how: Coercion) -> Result<Str> {
        let value = self.force(value)?;
        match value.view() {
            View::String(string) => return Ok(string),
            View::Attrs(set) => {
                if let Some(to_string) = set.get(self.shared.names.to_string) {
                    let string = self.call(to_string, &[value])?;
                    return self.nested(|ev| ev.coerce_to_string(string, how));
                }
                if let Some(out_path) = set.get(self.shared.names.out_path) {
                    return self.nested(|ev| ev.coerce_to_string(out_path, how));
                }
            }
            _ => {}
        }
        let mut text = Vec::new();
        let mut context = ContextBuilder::default();
        self.coerce(value, how, &mut text, &mut context)?;
        let value = Value::string_with_context(&text, context.finish());
        Ok(value.as_string().expect("a string was made just now"))
    }

    /// Returns the value as an absolute path, with its context.
    pub(crate) fn coerce_to_path(&mut self, value: Value) -> Result<(Vec<u8>, Context)> {
        let value = self.force(value)?;
        if let Some(path) = value.as_path() {
            return Ok((path.bytes().to_vec(), Context::EMPTY));
        }
        let string = self.coerce_to_string(value, Coercion { copy_to_store: false, more: false })?;
        if string.bytes().first() != Some(&b'/') {
            return Err(Error::other(
                "lang::relative_path",
                format!("string '{}' doesn't represent an absolute path", String::from_utf8_lossy(string.bytes())),
            ));
        }
        Ok((string.bytes().to_vec(), string.context()))
    }

    /// Copies a path to the store, once, and returns its path there.
    pub(crate) fn copy_to_store(&mut self, path: &[u8]) -> Result<(String, Context)> {
        let known = self.shared.copied.lock().expect(LOCK).get(path).cloned();
        let store_path = match known {
            Some(store_path) => store_path,
            None => {
                if path.ends_with(b".drv") && path.starts_with(self.shared.options.store_model.store_dir().as_bytes()) {
                    return Err(Error::other(
                        "lang::copy_derivation",
                        format!("file names are not allowed to end in '.drv': '{}'", String::from_utf8_lossy(path)),
                    ));
                }
                let source = self.checked_path(path)?;
                let source = self.resolve_parents(&source)?;
                let name = self.copy_name(source.as_os_str().as_encoded_bytes())?;
                let name = self.source_name(&name)?;
                let store_path = self.shared.host.add_source(&source, &name, Ingestion::Recursive, None, None)?;
                self.shared.copied.lock().expect(LOCK).insert(path.to_vec(), store_path.clone());
                store_path
            }
        };
        Ok(self.store_string(&store_path))
    }

    /// Returns a store path as text, and as the context of that text.
    pub(crate) fn store_string(&self, path: &StorePath) -> (String, Context) {
        let text = self.shared.options.store_model.print(path);
        let context = Context::one(ContextElement::Opaque(Symbol::new(text.as_bytes())));
        (text, context)
    }

    /// Checks a name for a store object.
    pub(crate) fn source_name(&self, name: &[u8]) -> Result<StorePathName> {
        let name = String::from_utf8_lossy(name);
        StorePathName::new(&name).map_err(|error| Error::other("lang::store_name", error.to_string()))
    }
}
