//! Actions: commands, and the digests of all that they see.
//!
//! ```proto
//! message Action   { Digest command_digest = 1; Digest input_root_digest = 2; Platform platform = 10; }
//! message Command  { repeated string arguments = 1; repeated Pair environment_variables = 2;
//!                    string working_directory = 6; repeated string output_paths = 7; }
//! message Platform { repeated Pair properties = 1; }
//! message Pair     { string name = 1; string value = 2; }
//! ```
//!
//! Environment, output paths and properties are sorted. Arguments and environment are bytes here
//! and `string` in the API, so an action whose bytes are not UTF-8 has a key like any other but
//! cannot be sent to a remote engine.

use super::wire::{Decoded, Field, decode_digest, decode_pair, digest, element, fields, pair, string, text};
use crate::tree::{Digest, SizedDigest};
use std::collections::BTreeMap;

/// Bytes that are not the canonical form of a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes with the digest {digest} are not a canonical {message}: {reason}")]
pub struct MessageError {
    /// The message that was expected.
    pub message: &'static str,
    pub digest: Digest,
    pub reason: &'static str,
}

/// A program, its arguments and environment, and the paths of its outputs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    pub arguments: Vec<Vec<u8>>,
    pub environment: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Relative to the root of the sandbox, without a leading slash.
    pub output_paths: Vec<String>,
    pub working_directory: String,
}

impl Command {
    /// Returns the canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for argument in &self.arguments {
            element(&mut out, 1, argument);
        }
        for (name, value) in &self.environment {
            pair(&mut out, 2, name, value);
        }
        string(&mut out, 6, self.working_directory.as_bytes());
        let mut paths: Vec<&String> = self.output_paths.iter().collect();
        paths.sort_unstable();
        for path in paths {
            element(&mut out, 7, path.as_bytes());
        }
        out
    }

    /// Parses canonical bytes. The output paths of the result are sorted.
    ///
    /// # Errors
    /// [`MessageError`] when the bytes are not the result of [`Command::encode`].
    pub fn decode(bytes: &[u8]) -> Result<Command, MessageError> {
        strict("Command", bytes, Command::parse, Command::encode)
    }

    fn parse(bytes: &[u8]) -> Decoded<Command> {
        let mut command = Command::default();
        fields(bytes, |field, value| {
            match (field, value) {
                (1, Field::Bytes(argument)) => command.arguments.push(argument.to_vec()),
                (2, Field::Bytes(bytes)) => {
                    let (name, value) = decode_pair(bytes)?;
                    command.environment.insert(name.to_vec(), value.to_vec());
                }
                (6, Field::Bytes(path)) => command.working_directory = text(path)?,
                (7, Field::Bytes(path)) => command.output_paths.push(text(path)?),
                _ => return Err("it has a field that is not known"),
            }
            Ok(())
        })?;
        Ok(command)
    }
}

/// Properties that a machine must have to run an action.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Platform {
    pub properties: BTreeMap<String, String>,
}

impl Platform {
    /// Returns the canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, value) in &self.properties {
            pair(&mut out, 1, name.as_bytes(), value.as_bytes());
        }
        out
    }

    /// Parses canonical bytes.
    ///
    /// # Errors
    /// [`MessageError`] when the bytes are not the result of [`Platform::encode`].
    pub fn decode(bytes: &[u8]) -> Result<Platform, MessageError> {
        strict("Platform", bytes, Platform::parse, Platform::encode)
    }

    fn parse(bytes: &[u8]) -> Decoded<Platform> {
        let mut platform = Platform::default();
        fields(bytes, |field, value| {
            let (1, Field::Bytes(bytes)) = (field, value) else { return Err("it has a field that is not known") };
            let (name, value) = decode_pair(bytes)?;
            platform.properties.insert(text(name)?, text(value)?);
            Ok(())
        })?;
        Ok(platform)
    }
}

/// A command with the contents of the root that it sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    pub command: SizedDigest,
    /// The root of the sandbox as a `Directory`.
    pub input_root: SizedDigest,
    pub platform: Platform,
}

impl Action {
    /// Returns the canonical bytes. The platform is present even when it has no properties.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        digest(&mut out, 1, &self.command.digest, self.command.size_bytes);
        digest(&mut out, 2, &self.input_root.digest, self.input_root.size_bytes);
        element(&mut out, 10, &self.platform.encode());
        out
    }

    /// Parses canonical bytes.
    ///
    /// # Errors
    /// [`MessageError`] when the bytes are not the result of [`Action::encode`].
    pub fn decode(bytes: &[u8]) -> Result<Action, MessageError> {
        strict("Action", bytes, Action::parse, Action::encode)
    }

    fn parse(bytes: &[u8]) -> Decoded<Action> {
        let (mut command, mut input_root, mut platform) = (None, None, None);
        fields(bytes, |field, value| {
            match (field, value) {
                (1, Field::Bytes(bytes)) => command = Some(sized_digest(bytes)?),
                (2, Field::Bytes(bytes)) => input_root = Some(sized_digest(bytes)?),
                (10, Field::Bytes(bytes)) => platform = Some(Platform::parse(bytes)?),
                _ => return Err("it has a field that is not known"),
            }
            Ok(())
        })?;
        Ok(Action {
            command: command.ok_or("it has no command")?,
            input_root: input_root.ok_or("it has no input root")?,
            platform: platform.ok_or("it has no platform")?,
        })
    }

    /// Returns the key of the action cache.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.encode())
    }
}

fn sized_digest(bytes: &[u8]) -> Decoded<SizedDigest> {
    decode_digest(bytes).map(|(digest, size_bytes)| SizedDigest { digest, size_bytes })
}

/// Parses `bytes` and refuses them unless encoding the result gives them back.
fn strict<T>(
    message: &'static str,
    bytes: &[u8],
    parse: impl Fn(&[u8]) -> Decoded<T>,
    encode: impl Fn(&T) -> Vec<u8>,
) -> Result<T, MessageError> {
    let error = |reason| MessageError { message, digest: Digest::of(bytes), reason };
    let parsed = parse(bytes).map_err(error)?;
    if encode(&parsed) == bytes { Ok(parsed) } else { Err(error("it is not sorted, or not in canonical form")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn command() -> Command {
        Command {
            arguments: vec![b"/bin/sh".to_vec(), b"-c".to_vec()],
            environment: BTreeMap::from([(b"B".to_vec(), b"2".to_vec()), (b"A".to_vec(), Vec::new())]),
            output_paths: vec!["output/out".into(), "output/dev".into()],
            working_directory: "build".into(),
        }
    }

    fn action() -> Action {
        Action {
            command: SizedDigest::of(&command().encode()),
            input_root: SizedDigest::of(b""),
            platform: Platform { properties: BTreeMap::from([("system".to_owned(), "x86_64-linux".to_owned())]) },
        }
    }

    #[test]
    fn commands_are_written_as_the_protocol_says() {
        // By the rules of `protoc --encode=build.bazel.remote.execution.v2.Command`: tag, length,
        // bytes.
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
    fn every_part_reaches_the_digest() {
        let mut longer = command();
        longer.arguments.push(b"x".to_vec());
        let variants = [
            Action { command: SizedDigest::of(&longer.encode()), ..action() },
            Action { input_root: SizedDigest::of(b"x"), ..action() },
            Action { platform: Platform::default(), ..action() },
        ];
        for variant in variants {
            assert_ne!(variant.digest(), action().digest());
        }
        assert_eq!(action().digest(), action().digest());
    }

    /// Each change gives bytes that another reader of protocol buffers may take for the same
    /// message.
    #[test]
    fn other_forms_of_a_message_are_refused() {
        let reason = |bytes: &[u8]| Command::decode(bytes).unwrap_err().reason;
        assert_eq!(reason(b"\x12\x03\x0a\x01B\x12\x03\x0a\x01A"), "it is not sorted, or not in canonical form");
        assert_eq!(reason(b"\x12\x03\x0a\x01A\x12\x03\x0a\x01A"), "it is not sorted, or not in canonical form");
        assert_eq!(reason(b"\x3a\x01b\x3a\x01a"), "it is not sorted, or not in canonical form");
        assert_eq!(reason(b"\x32\x00"), "it is not sorted, or not in canonical form");
        assert_eq!(reason(b"\x0a\x81\x00x"), "it is not sorted, or not in canonical form");
        assert_eq!(reason(b"\x1a\x01x"), "it has a field that is not known");
        assert_eq!(reason(b"\x0a\x02x"), "it ends within a field");
        assert_eq!(reason(b"\x3a\x01\xff"), "a text is not UTF-8");
        assert_eq!(reason(b"\x12\x02\x1a\x00"), "a name with a value has a field that is not known");

        let bytes = action().encode();
        let platform = bytes.len() - action().platform.encode().len() - 2;
        assert_eq!(Action::decode(&bytes[..platform]).unwrap_err().reason, "it has no platform");
        let twice = [&bytes[..], &bytes[platform..]].concat();
        assert_eq!(Action::decode(&twice).unwrap_err().reason, "it is not sorted, or not in canonical form");
        let error = Platform::decode(b"\x10\x01").unwrap_err().to_string();
        let digest = Digest::of(b"\x10\x01");
        assert_eq!(
            error,
            format!(
                "the bytes with the digest {digest} are not a canonical Platform: it has a field that is not known"
            )
        );
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(any::<u8>(), 0..200)
    }

    fn any_command() -> impl Strategy<Value = Command> {
        let environment = proptest::collection::btree_map(bytes(), bytes(), 0..4);
        let paths = proptest::collection::vec(".{0,9}", 0..4);
        (proptest::collection::vec(bytes(), 0..4), environment, paths, ".{0,9}").prop_map(
            |(arguments, environment, mut output_paths, working_directory)| {
                output_paths.sort_unstable();
                Command { arguments, environment, output_paths, working_directory }
            },
        )
    }

    proptest! {
        #[test]
        fn messages_survive_encoding(
            command in any_command(),
            properties in proptest::collection::btree_map(".{0,9}", ".{0,9}", 0..4),
            root in bytes(),
        ) {
            let encoded = command.encode();
            let platform = Platform { properties };
            prop_assert_eq!(&Platform::decode(&platform.encode()).unwrap(), &platform);
            let (command_digest, input_root) = (SizedDigest::of(&encoded), SizedDigest::of(&root));
            let action = Action { command: command_digest, input_root, platform };
            prop_assert_eq!(Command::decode(&encoded).unwrap(), command);
            prop_assert_eq!(Action::decode(&action.encode()).unwrap(), action);
        }

        /// Bytes that can be decoded are canonical, and no bytes make the decoders panic.
        #[test]
        fn decoded_bytes_are_canonical(bytes in bytes(), command in any_command(), at in any::<prop::sample::Index>(), byte: u8) {
            let mut changed = command.encode();
            if !changed.is_empty() {
                let at = at.index(changed.len());
                changed[at] = byte;
            }
            for bytes in [bytes, changed] {
                if let Ok(command) = Command::decode(&bytes) {
                    prop_assert_eq!(command.encode(), bytes.clone());
                }
                if let Ok(action) = Action::decode(&bytes) {
                    prop_assert_eq!(action.encode(), bytes);
                }
            }
        }
    }
}
