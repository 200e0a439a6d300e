//! `hash`: prints hashes of files and texts, and converts them between their forms.

use crate::print::say;
use crate::report::Failure;
use clap::{Args, Subcommand, ValueEnum};
use model::nar::{self, NarError};
use model::{Hash as Digest, HashAlgorithm, Hasher};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub enum Hash {
    /// Print the hashes of files; `-` is standard input
    File(OfFiles),
    /// Print the hashes of files or directories as archives (NAR)
    Path(OfPaths),
    /// Print the hash of a text
    String(OfText),
    /// Convert hashes to another form
    Convert(Convert),
    /// Convert hashes to the form of Subresource Integrity
    ToSri(ToForm),
    /// Convert hashes to hex
    #[command(name = "to-base16")]
    ToBase16(ToForm),
    /// Convert hashes to Nix base 32
    #[command(name = "to-base32")]
    ToBase32(ToForm),
    /// Convert hashes to base 64
    #[command(name = "to-base64")]
    ToBase64(ToForm),
}

#[derive(Debug, Args)]
pub struct OfFiles {
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct OfPaths {
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// Choose what of the path is hashed
    #[arg(long, value_enum, default_value_t)]
    pub mode: Mode,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct OfText {
    #[arg(value_name = "TEXT")]
    pub text: String,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct Convert {
    #[arg(value_name = "HASH", required = true)]
    pub hashes: Vec<String>,
    /// Algorithm, for hashes that do not name it
    #[arg(long, visible_alias = "type", value_name = "ALGORITHM", value_parser = algorithm)]
    pub hash_algo: Option<HashAlgorithm>,
    /// Refuse hashes that have another form
    #[arg(long, value_enum)]
    pub from: Option<Form>,
    /// Form to print
    #[arg(long, value_enum, default_value_t)]
    pub to: Form,
}

#[derive(Debug, Args)]
pub struct ToForm {
    #[arg(value_name = "HASH", required = true)]
    pub hashes: Vec<String>,
    /// Algorithm, for hashes that do not name it
    #[arg(long = "type", visible_alias = "hash-algo", value_name = "ALGORITHM", value_parser = algorithm)]
    pub hash_algo: Option<HashAlgorithm>,
}

/// Algorithm and form of printed hashes.
#[derive(Debug, Args)]
pub struct Output {
    /// Algorithm
    #[arg(long = "type", visible_aliases = ["hash-algo", "algo"], value_name = "ALGORITHM", default_value = "sha256", value_parser = algorithm)]
    pub algorithm: HashAlgorithm,
    /// Form to print
    #[arg(long = "to", visible_alias = "format", value_enum, default_value_t)]
    pub form: Form,
    /// The same as `--to base16`
    #[arg(long, conflicts_with = "form")]
    pub base16: bool,
    /// The same as `--to nix32`
    #[arg(long, conflicts_with_all = ["form", "base16"])]
    pub base32: bool,
    /// The same as `--to base64`
    #[arg(long, conflicts_with_all = ["form", "base16", "base32"])]
    pub base64: bool,
    /// The same as `--to sri`
    #[arg(long, conflicts_with_all = ["form", "base16", "base32", "base64"])]
    pub sri: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Form {
    #[default]
    Sri,
    #[value(alias = "hex")]
    Base16,
    #[value(alias = "base32")]
    Nix32,
    Base64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// The archive of the file or directory
    #[default]
    Nar,
    /// The contents of a file
    Flat,
}

fn algorithm(text: &str) -> Result<HashAlgorithm, String> {
    text.parse().map_err(|error: model::hash::HashError| error.to_string())
}

impl Form {
    fn print(self, hash: &Digest) -> String {
        match self {
            Form::Sri => hash.sri(),
            Form::Base16 => hash.hex(),
            Form::Nix32 => hash.base32(),
            Form::Base64 => hash.base64(),
        }
    }

    /// Returns true when a hash is written in this form.
    fn is_form_of(self, text: &str, hash: &Digest) -> bool {
        let digits = text.split_once(':').map_or(text, |(_, digits)| digits);
        match self {
            Form::Sri => text.starts_with(&format!("{}-", hash.algorithm())),
            Form::Base16 => digits.eq_ignore_ascii_case(&hash.hex()),
            Form::Nix32 => digits == hash.base32(),
            Form::Base64 => digits.trim_end_matches('=') == hash.base64().trim_end_matches('='),
        }
    }
}

impl Output {
    fn form(&self) -> Form {
        match (self.base16, self.base32, self.base64) {
            (true, ..) => Form::Base16,
            (_, true, _) => Form::Nix32,
            (.., true) => Form::Base64,
            _ => self.form,
        }
    }

    fn say(&self, hash: &Digest) -> Result<(), Failure> {
        say!("{}", self.form().print(hash))
    }
}

impl Hash {
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Hash::File(OfFiles { files, output }) => {
                files.iter().try_for_each(|file| output.say(&of_file(file, output.algorithm)?))
            }
            Hash::Path(OfPaths { paths, mode, output }) => paths.iter().try_for_each(|path| {
                output.say(&match mode {
                    Mode::Nar => of_tree(path, output.algorithm)?,
                    Mode::Flat => of_file(path, output.algorithm)?,
                })
            }),
            Hash::String(OfText { text, output }) => output.say(&output.algorithm.hash(text.as_bytes())),
            Hash::Convert(Convert { hashes, hash_algo, from, to }) => convert(&hashes, hash_algo, from, to),
            Hash::ToSri(ToForm { hashes, hash_algo }) => convert(&hashes, hash_algo, None, Form::Sri),
            Hash::ToBase16(ToForm { hashes, hash_algo }) => convert(&hashes, hash_algo, None, Form::Base16),
            Hash::ToBase32(ToForm { hashes, hash_algo }) => convert(&hashes, hash_algo, None, Form::Nix32),
            Hash::ToBase64(ToForm { hashes, hash_algo }) => convert(&hashes, hash_algo, None, Form::Base64),
        }
    }
}

fn convert(texts: &[String], algorithm: Option<HashAlgorithm>, from: Option<Form>, to: Form) -> Result<(), Failure> {
    for text in texts {
        let hash = Digest::parse(text, algorithm).map_err(|error| {
            let failure = Failure::new(error.to_string());
            match error {
                model::hash::HashError::NoAlgorithm { .. } => failure.help("name it with `--hash-algo sha256`"),
                _ => failure,
            }
        })?;
        if let Some(from) = from.filter(|from| !from.is_form_of(text, &hash)) {
            let name = from.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
            return Err(Failure::new(format!("`{text}` does not have the form `{name}`")));
        }
        say!("{}", to.print(&hash))?;
    }
    Ok(())
}

fn of_file(path: &Path, algorithm: HashAlgorithm) -> Result<Digest, Failure> {
    let failure = |cause| Failure::io("cannot read", path, cause);
    let mut input: Box<dyn Read> = match path.as_os_str() == "-" {
        true => Box::new(std::io::stdin()),
        false => Box::new(File::open(path).map_err(failure)?),
    };
    let mut sink = Sink(Hasher::new(algorithm));
    std::io::copy(&mut input, &mut sink).map_err(failure)?;
    Ok(sink.0.finish())
}

/// A hash of everything written to it.
struct Sink(Hasher);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Returns the hash of a file or directory as a NAR.
fn of_tree(path: &Path, algorithm: HashAlgorithm) -> Result<Digest, Failure> {
    let mut sink = Sink(Hasher::new(algorithm));
    let mut writer = nar::Writer::new(&mut sink).map_err(|error| failed(path, &error))?;
    write_tree(path, &mut writer)?;
    Ok(sink.0.finish())
}

fn failed(path: &Path, error: &NarError) -> Failure {
    Failure::new(format!("cannot hash `{}`: {error}", path.display()))
}

fn write_tree(path: &Path, writer: &mut nar::Writer<'_>) -> Result<(), Failure> {
    let io = |cause| Failure::io("cannot read", path, cause);
    let nar = |error: NarError| failed(path, &error);
    let meta = std::fs::symlink_metadata(path).map_err(io)?;
    if meta.is_symlink() {
        let target = std::fs::read_link(path).map_err(io)?;
        return writer.link(target.as_os_str().as_bytes()).map_err(nar);
    }
    if meta.is_file() {
        let executable = meta.permissions().mode() & 0o100 != 0;
        return writer.file(executable, meta.len(), &mut File::open(path).map_err(io)?).map_err(nar);
    }
    if !meta.is_dir() {
        return Err(Failure::new(format!("`{}` is neither a file, a directory nor a link", path.display())));
    }
    let mut names = std::fs::read_dir(path)
        .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<Vec<_>>>())
        .map_err(io)?;
    names.sort();
    writer.enter().map_err(nar)?;
    for name in names {
        writer.entry(name.as_bytes()).map_err(nar)?;
        write_tree(&path.join(&name), writer)?;
        writer.end_entry().map_err(nar)?;
    }
    writer.leave().map_err(nar)
}
