//! The command that a derivation asks the sandbox to run, before its inputs are read.

use crate::attributes::{Attributes, shell_declarations};
use crate::error::{BuildError, attribute};
use model::{Derivation, HashAlgorithm, Output, StoreModel, StorePath};
use std::collections::{BTreeMap, BTreeSet};

/// The working directory of every build.
pub(crate) const BUILD_DIR: &str = "/build";
/// The directory of the outputs of a rootfs build.
pub(crate) const OUTPUT_DIR: &str = "/output";

/// Returns the paths of the outputs of `derivation`.
///
/// # Errors
/// When an output is named by its contents: such derivations are not built here. And when its name
/// cannot be that of a file and of a variable, both of which it becomes: evaluation takes any name
/// that is valid in a store path, as Nix does.
pub(crate) fn output_paths(
    drv: &StorePath,
    derivation: &Derivation,
) -> Result<BTreeMap<String, StorePath>, BuildError> {
    let mut paths = BTreeMap::new();
    for (name, output) in &derivation.outputs {
        check_output_name(name).map_err(|problem| attribute("outputs", format!("of `{}`: {problem}", drv.name())))?;
        let path = match output {
            Output::Floating { .. } | Output::Impure { .. } | Output::Deferred => None,
            _ => derivation.output_path(StoreModel::Native, name)?,
        };
        let Some(path) = path else {
            return Err(BuildError::Unsupported {
                what: format!(
                    "the output `{name}` of `{drv}`, whose path is not known before it is built (`__contentAddressed`, `__impure`),"
                ),
            });
        };
        paths.insert(name.clone(), path);
    }
    Ok(paths)
}

/// The longest name that a file can have, in bytes.
const FILE_NAME_MAX: usize = 255;

fn check_output_name(name: &str) -> Result<(), String> {
    let problem = match name {
        "" => "the name of an output must not be empty".to_owned(),
        "." | ".." => format!("`{name}` is not the name of an output but of a directory; give it another name"),
        _ if name.len() > FILE_NAME_MAX => {
            format!("the name of an output has at most {FILE_NAME_MAX} bytes, and one here has {}", name.len())
        }
        _ => match name.chars().find(|character| matches!(character, '/' | '=' | '\0')) {
            Some(character) => format!("the name of an output must not contain {character:?}, and `{name}` does"),
            None => return Ok(()),
        },
    };
    Err(problem)
}

/// A command with the paths of its outputs filled in.
pub(crate) struct Invocation {
    /// Builder and arguments.
    pub argv: Vec<Vec<u8>>,
    /// The environment; cores are added when it runs, as they are not part of the action.
    pub env: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Files that `/build` starts with, by name.
    pub build_files: BTreeMap<String, Vec<u8>>,
    /// Output names, and the paths at which the builder makes them.
    pub places: BTreeMap<String, String>,
}

/// Returns the command of a derivation. With `rooted`, the outputs are at `/output/<name>`, and
/// every mention of an output's own store path becomes that path.
pub(crate) fn invocation(
    derivation: &Derivation,
    attributes: &Attributes,
    outputs: &BTreeMap<String, StorePath>,
    rooted: bool,
) -> Result<Invocation, BuildError> {
    let output_path = |name: &String, path: &StorePath| {
        if rooted { format!("{OUTPUT_DIR}/{name}") } else { StoreModel::Native.print(path) }
    };
    let places: BTreeMap<String, String> = outputs.iter().map(|(n, p)| (n.clone(), output_path(n, p))).collect();
    let mut rewrites: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for (name, path) in outputs {
        rewrites.push((placeholder(name).into_bytes(), places[name].clone().into_bytes()));
        if rooted {
            rewrites.push((StoreModel::Native.print(path).into_bytes(), places[name].clone().into_bytes()));
        }
    }
    let rewrite = |bytes: &[u8]| rewrites.iter().fold(bytes.to_vec(), |bytes, (from, to)| replace(bytes, from, to));

    let mut argv = vec![rewrite(&derivation.builder)];
    argv.extend(derivation.args.iter().map(|arg| rewrite(arg)));
    if !argv[0].starts_with(b"/") {
        return Err(attribute("builder", format!("`{}` is not an absolute path", String::from_utf8_lossy(&argv[0]))));
    }

    let mut env = BTreeMap::new();
    let mut build_files = BTreeMap::new();
    if let Some(structured) = attributes.structured() {
        let mut map: serde_json::Map<String, serde_json::Value> = structured
            .iter()
            .filter(|(name, _)| !name.starts_with("__"))
            .map(|(n, v)| (n.clone(), v.clone()))
            .collect();
        map.insert(
            "outputs".into(),
            places.iter().map(|(n, p)| (n.clone(), p.clone().into())).collect::<serde_json::Map<_, _>>().into(),
        );
        let json = serde_json::Value::Object(map.clone()).to_string();
        build_files.insert(".attrs.json".to_owned(), rewrite(json.as_bytes()));
        build_files.insert(".attrs.sh".to_owned(), rewrite(shell_declarations(&map).as_bytes()));
        env.insert(b"NIX_ATTRS_JSON_FILE".to_vec(), b"/build/.attrs.json".to_vec());
        env.insert(b"NIX_ATTRS_SH_FILE".to_vec(), b"/build/.attrs.sh".to_vec());
    } else {
        let as_file: BTreeSet<String> = attributes.words("passAsFile")?.unwrap_or_default().into_iter().collect();
        for (name, value) in &derivation.env {
            let text = std::str::from_utf8(name).ok();
            if name.starts_with(b"__") || text == Some("passAsFile") {
                continue;
            }
            if let Some(text) = text.filter(|text| as_file.contains(*text)) {
                let file = format!(".attr-{text}");
                env.insert(format!("{text}Path").into_bytes(), format!("{BUILD_DIR}/{file}").into_bytes());
                build_files.insert(file, rewrite(value));
            } else {
                env.insert(name.clone(), rewrite(value));
            }
        }
    }
    // Paths of outputs that the derivation itself did not write into its environment (fixed outputs
    // may not).
    for (name, output_path) in &places {
        if attributes.structured().is_none() {
            env.insert(name.clone().into_bytes(), output_path.clone().into_bytes());
        }
    }
    for (name, value) in DEFAULTS {
        env.entry(name.as_bytes().to_vec()).or_insert_with(|| value.as_bytes().to_vec());
    }
    Ok(Invocation { argv, env, build_files, places })
}

/// The environment of every build, unless an attribute says otherwise.
const DEFAULTS: [(&str, &str); 8] = [
    ("PATH", "/usr/bin:/bin"),
    ("HOME", BUILD_DIR),
    ("TMPDIR", "/tmp"),
    ("PWD", BUILD_DIR),
    ("LC_ALL", "C"),
    ("TZ", "UTC"),
    ("TERM", "dumb"),
    ("SOURCE_DATE_EPOCH", "1700000000"),
];

/// Returns the result of `builtins.placeholder`: a text that the output's path replaces in the
/// builder's environment.
fn placeholder(output: &str) -> String {
    let hash = HashAlgorithm::Sha256.hash(format!("nix-output:{output}").as_bytes());
    format!("/{}", hash.base32())
}

fn replace(bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    let finder = memchr::memmem::Finder::new(from);
    let mut out = Vec::new();
    let mut done = 0;
    for at in finder.find_iter(&bytes) {
        out.extend_from_slice(&bytes[done..at]);
        out.extend_from_slice(to);
        done = at + from.len();
    }
    if done == 0 {
        return bytes;
    }
    out.extend_from_slice(&bytes[done..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_those_of_nix() {
        assert_eq!(placeholder("out"), "/1rz4g4znpzjwh1xymhjpm42vipw92pr73vdgl6xs1hycac8kf2n9");
    }

    #[test]
    fn replacing_leaves_the_rest_alone() {
        assert_eq!(replace(b"a--b--".to_vec(), b"--", b"+"), b"a+b+");
        assert_eq!(replace(b"plain".to_vec(), b"--", b"+"), b"plain");
    }
}
