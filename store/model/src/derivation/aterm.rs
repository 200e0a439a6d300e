//! The text of a `.drv`: an ATerm,
//! `Derive([outputs],[inputs],[sources],system,builder,[args],[env])`.
//!
//! The writer gives exactly the bytes that Nix writes. The reader accepts exactly these: it refuses
//! a `.drv` that parses but would be written differently, since its name could not be checked.

use super::{Derivation, DerivationError, Output};
use crate::hash::{Hash, HashAlgorithm};
use crate::path::{Ingestion, StoreModel, StorePath, StorePathName};
use nom::bytes::complete::tag;
use nom::{IResult, Parser};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// The text that replaces the hash of an impure output.
const IMPURE: &str = "impure";

/// Forms in which inputs and outputs are written.
pub(super) struct Masking<'a> {
    /// Omits the paths of input-addressed outputs, and the variables that hold them.
    pub outputs: bool,
    /// Replaces the paths of the input derivations: hex of their hashes.
    pub inputs: Option<&'a [HashedInput<'a>]>,
}

/// The replacement of an input derivation: hex of its hash, and the outputs in use.
pub(super) type HashedInput<'a> = (String, Cow<'a, BTreeSet<String>>);

/// The end of a derivation's text, from the input sources on.
pub(super) struct Tail {
    pub bytes: Vec<u8>,
    /// The empty values of output variables in `bytes`: the position and the output of each, in
    /// order.
    holes: Vec<(usize, String)>,
}

impl Tail {
    /// Returns the same end with the variables of the outputs filled in from `env`.
    pub fn filled(&self, env: &BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes.len() + 100 * self.holes.len());
        let mut copied = 0;
        for (hole, output) in &self.holes {
            out.extend_from_slice(&self.bytes[copied..*hole]);
            escape(&mut out, env.get(output.as_bytes()).map_or(&[], Vec::as_slice));
            copied = *hole;
        }
        out.extend_from_slice(&self.bytes[copied..]);
        out
    }
}

impl Derivation {
    /// Returns the text of the `.drv`.
    ///
    /// # Errors
    /// When the path of a fixed output cannot be computed.
    pub fn to_aterm(&self, model: StoreModel) -> Result<Vec<u8>, DerivationError> {
        self.write_aterm(model, &Masking { outputs: false, inputs: None })
    }

    pub(super) fn write_aterm(&self, model: StoreModel, masking: &Masking<'_>) -> Result<Vec<u8>, DerivationError> {
        let mut out = self.write_outputs(model, masking.outputs)?;
        match masking.inputs {
            Some(inputs) => out.extend_from_slice(&write_hashed_inputs(inputs)),
            None => self.write_inputs(model, &mut out),
        }
        out.extend_from_slice(&self.write_tail(model, masking.outputs).bytes);
        Ok(out)
    }

    /// Writes the start, up to the input derivations; `masked` omits the paths of input-addressed
    /// outputs.
    pub(super) fn write_outputs(&self, model: StoreModel, masked: bool) -> Result<Vec<u8>, DerivationError> {
        let mut out = Vec::with_capacity(100 + 100 * (self.outputs.len() + self.input_derivations.len()));
        out.extend_from_slice(b"Derive(");
        list(&mut out, &self.outputs, |out, (name, output)| {
            let path = match output {
                Output::InputAddressed(_) if masked => None,
                _ => self.output_path(model, name)?,
            };
            let (algorithm, digest) = match output {
                Output::Fixed { ingestion, hash } => {
                    (format!("{}{}", ingestion.marker(), hash.algorithm()), hash.hex())
                }
                Output::Floating { ingestion, algorithm } => {
                    (format!("{}{algorithm}", ingestion.marker()), String::new())
                }
                Output::Impure { ingestion, algorithm } => {
                    (format!("{}{algorithm}", ingestion.marker()), IMPURE.to_owned())
                }
                Output::InputAddressed(_) | Output::Deferred => Default::default(),
            };
            let path = path.map(|path| model.print(&path)).unwrap_or_default();
            tuple(out, &[name.as_bytes(), path.as_bytes(), algorithm.as_bytes(), digest.as_bytes()]);
            Ok(())
        })?;
        out.push(b',');
        Ok(out)
    }

    /// Writes the input derivations, by their paths.
    pub(super) fn write_inputs(&self, model: StoreModel, out: &mut Vec<u8>) {
        separated(out, &self.input_derivations, |out, (input, outputs)| {
            write_input(out, |out| model.print_to(input, out), outputs);
        });
    }

    /// Writes everything after the input derivations; `masked` leaves variables named as an output
    /// empty.
    pub(super) fn write_tail(&self, model: StoreModel, masked: bool) -> Tail {
        let env_size: usize = self.env.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
        let args_size: usize = self.args.iter().map(|arg| arg.len() + 4).sum();
        let mut out = Vec::with_capacity(env_size + args_size + 200 + 100 * self.input_sources.len());
        let mut holes = Vec::new();
        out.push(b',');
        separated(&mut out, &self.input_sources, |out, path| string(out, model.print(path).as_bytes()));
        out.push(b',');
        string(&mut out, &self.system);
        out.push(b',');
        string(&mut out, &self.builder);
        out.push(b',');
        separated(&mut out, &self.args, |out, arg| string(out, arg));
        out.push(b',');
        separated(&mut out, &self.env, |out, (name, value)| {
            if masked && let Some(output) = self.output_named(name) {
                tuple(out, &[name, b""]);
                // Before the closing quote and parenthesis.
                holes.push((out.len() - 2, output));
            } else {
                tuple(out, &[name, value]);
            }
        });
        out.push(b')');
        Tail { bytes: out, holes }
    }

    fn output_named(&self, name: &[u8]) -> Option<String> {
        let name = std::str::from_utf8(name).ok()?;
        self.outputs.contains_key(name).then(|| name.to_owned())
    }

    /// Parses the text of a `.drv`.
    ///
    /// # Errors
    /// When it is not the result of [`Derivation::to_aterm`].
    pub fn from_aterm(model: StoreModel, name: StorePathName, text: &[u8]) -> Result<Self, DerivationError> {
        Reader { model, name, text }.derivation()
    }
}

fn list<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T) -> Result<(), DerivationError>,
) -> Result<(), DerivationError> {
    out.push(b'[');
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(out, item)?;
    }
    out.push(b']');
    Ok(())
}

fn tuple(out: &mut Vec<u8>, items: &[&[u8]]) {
    out.push(b'(');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        string(out, item);
    }
    out.push(b')');
}

fn separated<T>(out: &mut Vec<u8>, items: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

/// Writes the input derivations, by their hashes.
pub(super) fn write_hashed_inputs(inputs: &[HashedInput<'_>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + 100 * inputs.len());
    separated(&mut out, inputs, |out, (input, outputs)| {
        write_input(out, |out| out.extend_from_slice(input.as_bytes()), outputs);
    });
    out
}

/// Writes one input derivation: `input` writes a path or hexadecimal digits, neither of which needs
/// escapes.
fn write_input(out: &mut Vec<u8>, input: impl FnOnce(&mut Vec<u8>), outputs: &BTreeSet<String>) {
    out.extend_from_slice(b"(\"");
    input(out);
    out.extend_from_slice(b"\",[");
    for (i, output) in outputs.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        string(out, output.as_bytes());
    }
    out.extend_from_slice(b"])");
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    escape(out, bytes);
    out.push(b'"');
}

pub(super) fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut rest = bytes;
    while let Some((chunk, after)) = rest.split_first_chunk::<64>() {
        escape_chunk(out, chunk);
        rest = after;
    }
    escape_chunk(out, rest);
}

/// Most of a text needs no escapes, which one test shows for eight bytes.
fn escape_chunk(out: &mut Vec<u8>, bytes: &[u8]) {
    let (words, rest) = bytes.as_chunks::<8>();
    let suspect = match bytes.last_chunk::<8>() {
        // The last bytes are tested together with bytes before them.
        Some(last) => words.iter().fold(may_need_escape(*last), |any, word| any | may_need_escape(*word)),
        None => !rest.is_empty(),
    };
    if suspect { escape_each(out, bytes) } else { out.extend_from_slice(bytes) }
}

/// Returns true when one of eight bytes may be a quote, a backslash or a control character: never
/// false when one is.
fn may_need_escape(bytes: [u8; 8]) -> bool {
    const ONES: u64 = u64::MAX / 0xff;
    // Returns the high bit of each smaller byte, and of some others.
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word & (ONES << 7);
    let word = u64::from_ne_bytes(bytes);
    let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (below(word, b' ') | equal(b'"') | equal(b'\\')) != 0
}

fn escape_each(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut copied = 0;
    for (index, &byte) in bytes.iter().enumerate() {
        let escape = match byte {
            b'"' | b'\\' => byte,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            _ => continue,
        };
        out.extend_from_slice(&bytes[copied..index]);
        out.extend_from_slice(&[b'\\', escape]);
        copied = index + 1;
    }
    out.extend_from_slice(&bytes[copied..]);
}

struct Reader<'a> {
    model: StoreModel,
    name: StorePathName,
    text: &'a [u8],
}

type Result2<'a, T> = Result<(&'a [u8], T), DerivationError>;

impl<'a> Reader<'a> {
    fn derivation(self) -> Result<Derivation, DerivationError> {
        let rest = self.expect(self.text, "Derive(", "`Derive(`")?;
        let (rest, outputs) = self.list(rest, |rest| {
            let (rest, [name, path, algorithm, digest]) = self.strings(rest)?;
            let name = self.utf8(rest, name)?;
            Ok((rest, (name, self.output(&path, &algorithm, &digest, rest)?)))
        })?;
        let rest = self.expect(rest, ",", "`,`")?;
        let (rest, input_derivations) = self.list(rest, |rest| {
            let rest = self.expect(rest, "(", "`(`")?;
            let (rest, path) = self.path(rest)?;
            let rest = self.expect(rest, ",", "`,`")?;
            let (rest, outputs) = self.list(rest, |rest| {
                let (rest, output) = self.string(rest)?;
                Ok((rest, self.utf8(rest, output)?))
            })?;
            Ok((self.expect(rest, ")", "`)`")?, (path, outputs.into_iter().collect::<BTreeSet<_>>())))
        })?;
        let rest = self.expect(rest, ",", "`,`")?;
        let (rest, input_sources) = self.list(rest, |rest| self.path(rest))?;
        let rest = self.expect(rest, ",", "`,`")?;
        let (rest, system) = self.string(rest)?;
        let rest = self.expect(rest, ",", "`,`")?;
        let (rest, builder) = self.string(rest)?;
        let rest = self.expect(rest, ",", "`,`")?;
        let (rest, args) = self.list(rest, |rest| self.string(rest))?;
        let rest = self.expect(rest, ",", "`,`")?;
        let (rest, env) = self.list(rest, |rest| {
            let (rest, [name, value]) = self.strings(rest)?;
            Ok((rest, (name, value)))
        })?;
        let rest = self.expect(rest, ")", "`)`")?;
        if !rest.is_empty() {
            return Err(self.error(rest, "the end"));
        }
        let derivation = Derivation {
            name: self.name.clone(),
            outputs: outputs.into_iter().collect(),
            input_derivations: input_derivations.into_iter().collect(),
            input_sources: input_sources.into_iter().collect(),
            system,
            builder,
            args,
            env: env.into_iter().collect(),
        };
        let written = derivation.to_aterm(self.model)?;
        if written != self.text {
            let offset = written.iter().zip(self.text).take_while(|(a, b)| a == b).count();
            return Err(self.error(
                &self.text[offset.min(self.text.len())..],
                "the form eval and Nix write (sorted, no duplicates)",
            ));
        }
        Ok(derivation)
    }

    fn output(&self, path: &[u8], algorithm: &[u8], digest: &[u8], rest: &[u8]) -> Result<Output, DerivationError> {
        if algorithm.is_empty() {
            if !digest.is_empty() {
                return Err(self.error(rest, "a hash algorithm beside the hash"));
            }
            return if path.is_empty() {
                Ok(Output::Deferred)
            } else {
                Ok(Output::InputAddressed(self.store_path(rest, path)?))
            };
        }
        let algorithm = self.utf8(rest, algorithm.to_vec())?;
        let (ingestion, algorithm) = match algorithm.split_once(':') {
            None => (Ingestion::Flat, algorithm.as_str()),
            Some(("r", algorithm)) => (Ingestion::Recursive, algorithm),
            Some(("text", algorithm)) => (Ingestion::Text, algorithm),
            Some(_) => return Err(self.error(rest, "`r:` or `text:` before the hash algorithm")),
        };
        let hash_error = |reason| DerivationError::Hash { name: self.name.to_string(), reason };
        let algorithm: HashAlgorithm = algorithm.parse().map_err(hash_error)?;
        if digest.is_empty() {
            return Ok(Output::Floating { ingestion, algorithm });
        }
        let digest = self.utf8(rest, digest.to_vec())?;
        if digest == IMPURE {
            return Ok(Output::Impure { ingestion, algorithm });
        }
        Ok(Output::Fixed { ingestion, hash: Hash::parse(&digest, Some(algorithm)).map_err(hash_error)? })
    }

    fn expect(&self, input: &'a [u8], what: &'static str, expected: &'static str) -> Result<&'a [u8], DerivationError> {
        let parsed: IResult<&[u8], &[u8]> = tag(what.as_bytes()).parse(input);
        parsed.map(|(rest, _)| rest).map_err(|_| self.error(input, expected))
    }

    fn list<T>(&self, input: &'a [u8], mut item: impl FnMut(&'a [u8]) -> Result2<'a, T>) -> Result2<'a, Vec<T>> {
        let mut rest = self.expect(input, "[", "`[`")?;
        let mut items = Vec::new();
        if rest.first() == Some(&b']') {
            return Ok((&rest[1..], items));
        }
        loop {
            let (after, value) = item(rest)?;
            items.push(value);
            match after.first() {
                Some(b',') => rest = &after[1..],
                Some(b']') => return Ok((&after[1..], items)),
                _ => return Err(self.error(after, "`,` or `]`")),
            }
        }
    }

    fn strings<const N: usize>(&self, input: &'a [u8]) -> Result2<'a, [Vec<u8>; N]> {
        let mut rest = self.expect(input, "(", "`(`")?;
        let mut items = [const { Vec::new() }; N];
        for (i, slot) in items.iter_mut().enumerate() {
            if i > 0 {
                rest = self.expect(rest, ",", "`,`")?;
            }
            (rest, *slot) = self.string(rest)?;
        }
        Ok((self.expect(rest, ")", "`)`")?, items))
    }

    fn string(&self, input: &'a [u8]) -> Result2<'a, Vec<u8>> {
        let mut rest = self.expect(input, "\"", "a string")?;
        let mut bytes = Vec::new();
        loop {
            let plain =
                rest.iter().position(|&byte| byte == b'"' || byte == b'\\').ok_or_else(|| self.error(&[], "`\"`"))?;
            bytes.extend_from_slice(&rest[..plain]);
            let special = &rest[plain..];
            if special[0] == b'"' {
                return Ok((&special[1..], bytes));
            }
            bytes.push(match special.get(1) {
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b't') => b'\t',
                Some(&byte @ (b'"' | b'\\')) => byte,
                _ => return Err(self.error(special, "an escape of n, r, t, `\"` or `\\`")),
            });
            rest = &special[2..];
        }
    }

    fn path(&self, input: &'a [u8]) -> Result2<'a, StorePath> {
        let (rest, bytes) = self.string(input)?;
        Ok((rest, self.store_path(rest, &bytes)?))
    }

    fn store_path(&self, rest: &[u8], bytes: &[u8]) -> Result<StorePath, DerivationError> {
        let text = std::str::from_utf8(bytes).map_err(|_| self.error(rest, "a store path before this"))?;
        self.model.parse(text).map_err(|reason| DerivationError::Path { name: self.name.to_string(), reason })
    }

    fn utf8(&self, rest: &[u8], bytes: Vec<u8>) -> Result<String, DerivationError> {
        String::from_utf8(bytes).map_err(|_| self.error(rest, "a name in UTF-8 before this"))
    }

    fn error(&self, rest: &[u8], expected: &'static str) -> DerivationError {
        DerivationError::Syntax { name: self.name.to_string(), offset: self.text.len() - rest.len(), expected }
    }
}
