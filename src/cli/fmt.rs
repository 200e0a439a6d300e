//! `fmt`: formats Nix files in the standard form, that of RFC 166.
//!
//! The form is that of the crate `nixfmt_rs`. A text whose meaning would change is refused, so a
//! fault of the formatter costs no code: both texts must have the same syntax tree.

use crate::print;
use crate::print::{remark, say};
use crate::report::Failure;
use bumpalo::Bump;
use clap::Args;
use lang::syntax::print::{PrintOptions, Style};
use lang::syntax::{ParseOptions, parse};
use std::io::{Read, Write, stdin};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct Fmt {
    /// Files, or directories with all `.nix` files below them; `-` is standard input, and its form
    /// is printed [default: .]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Write nothing; list the files that have another form, and fail if there are some
    #[arg(long)]
    pub check: bool,
}

/// Stack of the thread that formats: the crate recurses over the depth of an expression.
const STACK_BYTES: usize = 1 << 30;

impl Fmt {
    pub fn run(self) -> Result<(), Failure> {
        let worker = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || self.format());
        let worker = worker.map_err(|cause| Failure::io("cannot start a thread for", Path::new("fmt"), cause))?;
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn format(mut self) -> Result<(), Failure> {
        if self.paths.is_empty() {
            self.paths.push(PathBuf::from("."));
        }
        let mut changed = 0;
        let mut failures: Vec<Failure> = Vec::new();
        for path in &self.paths {
            if path.as_os_str() == "-" {
                changed += usize::from(self.standard_input()?);
                continue;
            }
            let mut files = Vec::new();
            find(path, true, &mut files)?;
            for file in &files {
                match self.file(file) {
                    Ok(is_changed) => changed += usize::from(is_changed),
                    Err(failure) => failures.push(failure),
                }
            }
        }
        if let Some(last) = failures.pop() {
            failures.iter().for_each(|failure| failure.print(false));
            return Err(last);
        }
        match changed {
            0 => Ok(()),
            count if self.check => {
                let files = if count == 1 { "file has" } else { "files have" };
                Err(Failure::new(format!("{count} {files} another form"))
                    .help("`ev fmt` without `--check` changes them"))
            }
            _ => Ok(()),
        }
    }

    /// Formats standard input; returns true when its form was another.
    fn standard_input(&self) -> Result<bool, Failure> {
        let name = Path::new("standard input");
        let mut text = String::new();
        stdin().read_to_string(&mut text).map_err(|cause| Failure::io("cannot read", name, cause))?;
        let formatted = formatted(&text, "<stdin>")?;
        if self.check {
            if formatted != text {
                say!("<stdin>")?;
            }
        } else {
            print::bytes(formatted.as_bytes())?;
        }
        Ok(formatted != text)
    }

    /// Formats one file; returns true when its form was another.
    fn file(&self, file: &Path) -> Result<bool, Failure> {
        let text = std::fs::read_to_string(file).map_err(|cause| Failure::io("cannot read", file, cause))?;
        let formatted = formatted(&text, &file.display().to_string())?;
        if formatted == text {
            return Ok(false);
        }
        match self.check {
            true => say!("{}", print::path_in_line(file))?,
            false => {
                replace(file, &formatted).map_err(|cause| Failure::io("cannot write", file, cause))?;
                remark!("formatted {}", file.display());
            }
        }
        Ok(true)
    }
}

/// Replaces a file as a whole, with its permissions. A link stays one.
fn replace(file: &Path, text: &str) -> std::io::Result<()> {
    let file = file.canonicalize()?;
    let permissions = std::fs::metadata(&file)?.permissions();
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let fresh = file.with_file_name(name);
    let mut made = std::fs::OpenOptions::new().write(true).create_new(true).open(&fresh)?;
    let written = made
        .write_all(text.as_bytes())
        .and_then(|()| std::fs::set_permissions(&fresh, permissions))
        .and_then(|()| std::fs::rename(&fresh, &file));
    written.inspect_err(|_| drop(std::fs::remove_file(&fresh)))
}

/// Finds the files to format: the named ones, and those below named directories that end in
/// `.nix`. Hidden directories, links and build directories are left out.
fn find(path: &Path, is_named: bool, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let failure = |cause| Failure::io("cannot read", path, cause);
    let meta = match is_named {
        true => std::fs::metadata(path),
        false => std::fs::symlink_metadata(path),
    };
    let meta = meta.map_err(failure)?;
    if meta.is_file() && (is_named || path.extension().is_some_and(|extension| extension == "nix")) {
        files.push(path.to_owned());
    } else if meta.is_dir() {
        for name in super::store::entries(path)? {
            let bytes = name.as_os_str().as_bytes();
            if !bytes.starts_with(b".") && bytes != b"target" {
                let below = if path == Path::new(".") { name } else { path.join(name) };
                find(&below, false, files)?;
            }
        }
    }
    Ok(())
}

/// Returns a text in the standard form.
fn formatted(text: &str, name: &str) -> Result<String, Failure> {
    let before = tree(text, name)?;
    let failure = |reason: &str| {
        Failure::new(format!("`{name}` cannot be formatted: {reason}")).help("it is unchanged; please report this file")
    };
    let formatted = nixfmt_rs::format(text).map_err(|error| failure(&error.to_string()))?;
    match tree(&formatted, name) {
        Ok(after) if after == before => Ok(formatted),
        _ => Err(failure("its meaning would change")),
    }
}

/// Returns the syntax tree of a text, as text.
fn tree(text: &str, name: &str) -> Result<Vec<u8>, Failure> {
    let arena = Bump::new();
    let parsed = parse(&arena, text.as_bytes(), ParseOptions { pipe_operators: true, ..ParseOptions::default() });
    if let Some(error) = parsed.errors.first() {
        let line = text[..(error.span.start as usize).min(text.len())].matches('\n').count() + 1;
        return Err(Failure::new(format!("{name}:{line}: {error}")));
    }
    let options = PrintOptions { base: b"/", home: b"~", style: Style::Current };
    Ok(lang::syntax::print::print(parsed.expr, options))
}

#[cfg(test)]
mod tests {
    use super::formatted;

    #[test]
    fn comments_and_meaning_stay() {
        let text = "# head\n{ a=1; # one\n b = [ 1 2 /* two */ 3 ];\n  c = ''\n    x\n      ${y}\n  ''; }\n";
        let once = formatted(text, "x.nix").expect("it is valid");
        for comment in ["# head", "# one", "two"] {
            assert!(once.contains(comment), "{once}");
        }
        assert_eq!(formatted(&once, "x.nix").expect("it is valid"), once);
        assert_eq!(formatted("{a=1;}", "x.nix").expect("it is valid"), "{ a = 1; }\n");
    }

    #[test]
    fn mistakes_are_placed() {
        let failure = formatted("{\n  a = ;\n}", "x.nix").expect_err("it is wrong");
        assert!(failure.message().starts_with("x.nix:2: "), "{}", failure.message());
    }
}
