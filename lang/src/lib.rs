//! The language: text → tokens → AST → bytecode → value → derivation.
//!
//! This crate does no input or output of its own: what the language asks of the world is the trait `Host`.

pub mod source;
pub mod symbol;
pub mod syntax;
pub mod text;
