//! Pure algorithms over bytes that builtins are made of: nothing here knows values, contexts or files.

pub mod number;
