//! Actions: a derivation once its inputs exist. What is run, on what contents.
//!
//! The messages are `Action`, `Command` and `Platform` of the Remote Execution API v2 with blake3 digests, written
//! canonically: fields in order of their numbers, defaults left out, environment, output paths and properties sorted.
//! Arguments and environment are bytes here and `string` there, so an action with other than UTF-8 in them is keyed
//! as well as any other but cannot be sent to a remote engine.
//!
//! What cannot change a result is left out: the number of cores, limits, where the host keeps things. The version of
//! the sandbox's own promises ([`LAYOUT`]) is in, so that a build sees an old result only when it would see the same
//! surroundings.

use std::collections::BTreeMap;
use store::tree::Digest;

/// Raised whenever builds find something else than before: mount points, default environment, fixed clock.
const LAYOUT: &str = "1";

/// The digest and length of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageDigest {
    pub digest: Digest,
    pub size_bytes: u64,
}

impl MessageDigest {
    pub fn of(bytes: &[u8]) -> MessageDigest {
        MessageDigest { digest: Digest::of(bytes), size_bytes: bytes.len() as u64 }
    }
}

/// `build.bazel.remote.execution.v2.Command`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    pub arguments: Vec<Vec<u8>>,
    pub environment: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Relative to the root of the sandbox, without a leading slash.
    pub output_paths: Vec<String>,
    pub working_directory: String,
}

impl Command {
    /// Returns the canonical message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for argument in &self.arguments {
            field(&mut out, 1, argument);
        }
        for (name, value) in &self.environment {
            field(&mut out, 2, &pair(name, value));
        }
        if !self.working_directory.is_empty() {
            field(&mut out, 6, self.working_directory.as_bytes());
        }
        let mut paths: Vec<&String> = self.output_paths.iter().collect();
        paths.sort_unstable();
        for path in paths {
            field(&mut out, 7, path.as_bytes());
        }
        out
    }
}

/// `build.bazel.remote.execution.v2.Action`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    pub command: MessageDigest,
    /// The root of the sandbox as a `Directory`.
    pub input_root: MessageDigest,
    pub platform: BTreeMap<String, String>,
}

impl Action {
    /// Puts an action together; `platform` gains the layout version.
    pub fn new(command: &Command, input_root: MessageDigest, mut platform: BTreeMap<String, String>) -> Action {
        platform.insert("eval-layout".into(), LAYOUT.into());
        Action { command: MessageDigest::of(&command.encode()), input_root, platform }
    }

    /// Returns the canonical message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        field(&mut out, 1, &digest(&self.command));
        field(&mut out, 2, &digest(&self.input_root));
        let mut platform = Vec::new();
        for (name, value) in &self.platform {
            field(&mut platform, 1, &pair(name.as_bytes(), value.as_bytes()));
        }
        field(&mut out, 10, &platform);
        out
    }

    /// Returns the key of the action cache.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.encode())
    }
}

fn pair(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + value.len() + 8);
    if !name.is_empty() {
        field(&mut out, 1, name);
    }
    if !value.is_empty() {
        field(&mut out, 2, value);
    }
    out
}

fn digest(digest: &MessageDigest) -> Vec<u8> {
    let mut out = Vec::with_capacity(80);
    field(&mut out, 1, digest.digest.to_string().as_bytes());
    if digest.size_bytes != 0 {
        out.push(2 << 3);
        varint(&mut out, digest.size_bytes);
    }
    out
}

/// A length-delimited field.
fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        Command {
            arguments: vec![b"/bin/sh".to_vec(), b"-c".to_vec()],
            environment: BTreeMap::from([(b"B".to_vec(), b"2".to_vec()), (b"A".to_vec(), Vec::new())]),
            output_paths: vec!["output/out".into(), "output/dev".into()],
            working_directory: "build".into(),
        }
    }

    #[test]
    fn commands_are_written_as_the_protocol_says() {
        // Checked against `protoc --encode=build.bazel.remote.execution.v2.Command`'s rules: tag, length, bytes.
        let expected = [
            b"\x0a\x07/bin/sh\x0a\x02-c".as_slice(),
            b"\x12\x03\x0a\x01A\x12\x06\x0a\x01B\x12\x012",
            b"\x32\x05build",
            b"\x3a\x0aoutput/dev\x3a\x0aoutput/out",
        ]
        .concat();
        assert_eq!(command().encode(), expected);
    }

    #[test]
    fn long_fields_have_long_lengths() {
        let mut out = Vec::new();
        field(&mut out, 1, &[7; 300]);
        assert_eq!(out[..3], [0x0a, 0xac, 0x02]);
    }

    #[test]
    fn everything_reaches_the_digest() {
        let root = MessageDigest::of(b"");
        let base = Action::new(&command(), root, BTreeMap::new());
        let mut other = command();
        other.arguments.push(b"x".to_vec());
        let platform = BTreeMap::from([("sandbox".to_owned(), "relaxed".to_owned())]);
        let variants = [
            Action::new(&other, root, BTreeMap::new()),
            Action::new(&command(), MessageDigest::of(b"x"), BTreeMap::new()),
            Action::new(&command(), root, platform),
        ];
        for variant in variants {
            assert_ne!(variant.digest(), base.digest());
        }
        assert_eq!(Action::new(&command(), root, BTreeMap::new()).digest(), base.digest());
    }
}
