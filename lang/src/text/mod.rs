//! Pure algorithms over bytes that builtins are made of: nothing here knows values, string contexts or files.

pub mod json;
pub mod number;
pub(crate) mod path;
pub mod regex;
pub mod toml;
pub mod version;
pub mod xml;
