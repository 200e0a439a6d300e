//! A derivation as JSON, in the form of `nix derivation show`.
//!
//! JSON has no byte strings: bytes that are not UTF-8 become replacement characters. This crate
//! does not parse this form.

use super::{Derivation, DerivationError, Output};
use crate::path::StoreModel;
use serde_json::{Map, Value, json};

impl Derivation {
    /// Returns the value that `nix derivation show` prints below the path of the derivation.
    ///
    /// # Errors
    /// When the path of a fixed output cannot be computed.
    pub fn to_json(&self, model: StoreModel) -> Result<Value, DerivationError> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut outputs = Map::new();
        for (name, output) in &self.outputs {
            let mut object = Map::new();
            if let Some(path) = self.output_path(model, name)? {
                object.insert("path".to_owned(), model.print(&path).into());
            }
            match output {
                Output::Fixed { ingestion, hash } => {
                    object.insert("hashAlgo".to_owned(), format!("{}{}", ingestion.marker(), hash.algorithm()).into());
                    object.insert("hash".to_owned(), hash.hex().into());
                }
                Output::Floating { ingestion, algorithm } => {
                    object.insert("hashAlgo".to_owned(), format!("{}{algorithm}", ingestion.marker()).into());
                }
                Output::Impure { ingestion, algorithm } => {
                    object.insert("hashAlgo".to_owned(), format!("{}{algorithm}", ingestion.marker()).into());
                    object.insert("impure".to_owned(), true.into());
                }
                Output::InputAddressed(_) | Output::Deferred => {}
            }
            outputs.insert(name.clone(), object.into());
        }
        let inputs: Map<String, Value> = self
            .input_derivations
            .iter()
            .map(|(path, outputs)| (model.print(path), json!({ "dynamicOutputs": {}, "outputs": outputs })))
            .collect();
        Ok(json!({
            "name": self.name.as_str(),
            "outputs": outputs,
            "inputDrvs": inputs,
            "inputSrcs": self.input_sources.iter().map(|path| model.print(path)).collect::<Vec<_>>(),
            "system": text(&self.system),
            "builder": text(&self.builder),
            "args": self.args.iter().map(|arg| text(arg)).collect::<Vec<_>>(),
            "env": self.env.iter().map(|(name, value)| (text(name), text(value).into())).collect::<Map<_, _>>(),
        }))
    }
}
