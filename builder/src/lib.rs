//! Turns derivations into store paths: what a build needs, in which order builds run, and the sandbox they run in.

pub mod audit;
pub mod fetch;
pub mod request;
pub mod sandbox;
pub mod unpack;
