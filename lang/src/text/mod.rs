//! Pure algorithms over bytes for builtins and messages, independent of values, string contexts and
//! files.

pub mod attr_path;
pub(crate) mod grisu;
pub mod json;
pub mod number;
pub(crate) mod path;
pub mod regex;
pub(crate) mod suggest;
pub mod toml;
pub mod version;
pub mod xml;
