//! Trees as one stream of bytes.

pub mod nar;
