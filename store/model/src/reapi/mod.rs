//! Messages of the Remote Execution API v2 with blake3 digests, each in one canonical form.
//!
//! Canonical: fields in order of their numbers, defaults left out, lists sorted where their order
//! says nothing, no field that is not listed here. Decoding refuses anything else, so a message has
//! one digest, and the digest of a decoded message is that of the bytes it came from.
//!
//! [`Directory`](crate::tree::Directory) and [`Node`](crate::tree::Node) get their encoding in
//! `directory`; [`Action`], [`Command`] and [`Platform`] are defined here, since nothing but
//! execution needs them. A client that uploads an action sends the bytes of these messages as
//! blobs.

mod action;
mod directory;
mod wire;

pub use action::{Action, Command, MessageError, Platform};
