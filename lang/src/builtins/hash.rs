//! Builtins over hashes.

use super::expect::lossy;
use super::features::require;
use crate::error::{Error, Result};
use crate::host::{HostError, HostErrorKind};
use crate::symbol::Symbol;
use crate::value::Value;
use crate::vm::Evaluator;
use model::{Hash, HashAlgorithm, Hasher};

fn algorithm(ev: &mut Evaluator, value: Value) -> Result<HashAlgorithm> {
    let name = lossy(ev.expect_plain(value)?);
    let algorithm = name.parse().map_err(|_| {
        Error::other("lang::hash_algorithm", format!("unknown hash algorithm '{name}'"))
            .help("known are md5, sha1, sha256, sha512 and blake3")
    })?;
    require(algorithm != HashAlgorithm::Blake3 || ev.shared.options.features.blake3_hashes, "blake3-hashes")?;
    Ok(algorithm)
}

pub(super) fn hash_string(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let algorithm = algorithm(ev, arguments[0])?;
    let text = ev.expect_string(arguments[1])?;
    Ok(Value::string(algorithm.hash(text.bytes()).hex().as_bytes()))
}

pub(super) fn hash_file(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let algorithm = algorithm(ev, arguments[0])?;
    let path = ev.realise_path(arguments[1])?;
    let path = ev.resolve_links(&path)?;
    let mut hasher = Hasher::new(algorithm);
    let account = &ev.account;
    let read = ev.shared.host.read_pieces(&path, &mut |piece| {
        if account.is_interrupted() {
            return Err(HostError::new(HostErrorKind::Stopped, "interrupted"));
        }
        hasher.update(piece);
        Ok(())
    });
    match read {
        Err(error) if error.kind == HostErrorKind::Stopped => Err(ev.out_of_memory()),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(Value::string(hasher.finish().hex().as_bytes())),
    }
}

pub(super) fn convert_hash(ev: &mut Evaluator, arguments: &[Value]) -> Result<Value> {
    let set = ev.expect_attrs(arguments[0])?;
    let text = ev.required(set, "hash", "convertHash")?;
    let text = lossy(ev.expect_plain(text)?);
    let expected = match set.get(Symbol::new(b"hashAlgo")) {
        Some(value) => Some(algorithm(ev, value)?),
        None => None,
    };
    let hash = Hash::parse(&text, expected).map_err(|error| Error::other("lang::hash", error.to_string()))?;
    let format = ev.required(set, "toHashFormat", "convertHash")?;
    let converted = match ev.expect_plain(format)? {
        b"base16" => hash.hex(),
        b"nix32" | b"base32" => hash.base32(),
        b"base64" => hash.base64(),
        b"sri" => hash.sri(),
        other => {
            return Err(Error::other(
                "lang::hash_format",
                format!("unknown hash format '{}', expect 'base16', 'base64', 'nix32' or 'sri'", lossy(other)),
            ));
        }
    };
    Ok(Value::string(converted.as_bytes()))
}
