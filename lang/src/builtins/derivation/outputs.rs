//! Outputs of a derivation: methods, hashes and placeholders.

use crate::error::{Error, Result};
use crate::host::Severity;
use crate::vm::Evaluator;
use model::path::Ingestion;
use model::{Hash, HashAlgorithm, StorePath};

/// Parses `outputHashMode`.
pub(super) fn ingestion(mode: &str) -> Result<Ingestion> {
    match mode {
        "flat" => Ok(Ingestion::Flat),
        "recursive" | "nar" => Ok(Ingestion::Recursive),
        "text" => Ok(Ingestion::Text),
        other => {
            Err(Error::other("lang::derivation", format!("invalid value '{other}' for 'outputHashMode' attribute")))
        }
    }
}

/// Parses `outputHashAlgo`; `None` when the hash itself names its algorithm.
pub(super) fn output_algorithm(name: &str) -> Result<Option<HashAlgorithm>> {
    match name {
        "" => Ok(None),
        name => name
            .parse()
            .map(Some)
            .map_err(|_| Error::other("lang::hash_algorithm", format!("unknown hash algorithm '{name}'"))),
    }
}

/// Returns the method and algorithm that hash outputs of unknown content: by default NAR and
/// SHA-256.
pub(super) fn floating_output(algorithm: &str, mode: Option<&str>) -> Result<(Ingestion, HashAlgorithm)> {
    let ingestion = mode.map_or(Ok(Ingestion::Recursive), ingestion)?;
    Ok((ingestion, output_algorithm(algorithm)?.unwrap_or(HashAlgorithm::Sha256)))
}

/// Returns the text that stands for an output's path inside its own build.
pub(super) fn own_placeholder(output: &[u8]) -> Vec<u8> {
    let hash = HashAlgorithm::Sha256.hash(&[b"nix-output:", output].concat());
    format!("/{}", hash.base32()).into_bytes()
}

/// Returns the text that stands for the path of a content-addressed output in its dependents, until
/// it is built.
pub(in crate::builtins) fn downstream_placeholder(drv: &StorePath, output: &str) -> Result<Vec<u8>> {
    let failed = |error: String| Error::other("lang::derivation", error);
    let name = model::derivation::name_of_path(drv).map_err(|error| failed(error.to_string()))?;
    let name = match output {
        "out" => name.to_string(),
        output => format!("{name}-{output}"),
    };
    let text = format!("nix-upstream-output:{}:{name}", drv.hash_text());
    Ok(format!("/{}", HashAlgorithm::Sha256.hash(text.as_bytes()).base32()).into_bytes())
}

pub(super) fn fixed_output(ev: &Evaluator, hash: &str, algorithm: &str, mode: &str) -> Result<(Ingestion, Hash)> {
    let ingestion = if mode.is_empty() { Ingestion::Flat } else { ingestion(mode)? };
    let algorithm = output_algorithm(algorithm)?;
    if hash.is_empty() {
        // As in Nix, an empty hash means zeros, and the failing build then reports the right one.
        let algorithm = algorithm.ok_or_else(|| {
            Error::other("lang::hash", "empty hash requires explicit hash algorithm").help("set `outputHashAlgo`")
        })?;
        let zeros = vec![0; algorithm.digest_len()];
        let hash = Hash::new(algorithm, &zeros).expect("the digest has the algorithm's length");
        ev.shared.host.message(Severity::Warning, &format!("found empty hash, assuming '{}'", hash.sri()));
        return Ok((ingestion, hash));
    }
    let hash = Hash::parse(hash, algorithm).map_err(|error| Error::other("lang::hash", error.to_string()))?;
    Ok((ingestion, hash))
}
