//! Texts and files to values, and checks of the files that may be read.

use super::{Evaluation, Evaluator, LOCK};
use crate::compile;
use crate::compile::code::Code;
use crate::compile::stored::{self, Kept, Stored};
use crate::error::{Error, Result};
use crate::host::{CodeCache, FileType};
use crate::source::{Origin, SourceText};
use crate::symbol::Symbol;
use crate::syntax::print::{PrintOptions, Style, print};
use crate::syntax::{Lints, ParseOptions, parse};
use crate::text::path;
use crate::value::{ContextElement, Value};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Number of symbolic links that are followed for one path.
const LINKS_MAX: usize = 64;

/// Thunk of a file's value; captures the path.
static FILE: Code = Code::native(1, |ev, captures| {
    let path = captures[0].as_path().map(|path| path.bytes()).unwrap_or_default();
    ev.load_file(path, &[])
});

impl Evaluator {
    /// Evaluates a file (or `default.nix` of a directory) to head form. A file is read and
    /// evaluated once.
    pub fn eval_file(&mut self, path: &Path) -> Result<Value> {
        let path = path::normalise(path.as_os_str().as_bytes());
        self.on_large_stack(|ev| ev.import(&path))
    }

    /// Evaluates a text to head form; relative paths in it start at `base_dir`.
    pub fn eval_text(&mut self, text: &[u8], origin: Origin, base_dir: &Path) -> Result<Value> {
        let value = self.compile_text(Arc::from(text), origin, base_dir.as_os_str().as_bytes(), &[], false)?;
        self.force(value)
    }

    /// Like [`Evaluator::eval_text`], with more names in scope.
    pub fn eval_text_with(
        &mut self,
        text: &[u8],
        origin: Origin,
        base_dir: &Path,
        names: &[(Symbol, Value)],
    ) -> Result<Value> {
        let value = self.compile_text(Arc::from(text), origin, base_dir.as_os_str().as_bytes(), names, false)?;
        self.force(value)
    }

    /// Returns the syntax tree of a text as `nix-instantiate --parse` prints it, after the checks
    /// that need no evaluation, such as for undefined variables.
    ///
    /// # Errors
    /// Mistakes in the text.
    pub fn parse_text(&mut self, text: &[u8], origin: Origin, base_dir: &Path) -> Result<Vec<u8>> {
        let base_dir = base_dir.as_os_str().as_bytes();
        self.compile_text(Arc::from(text), origin, base_dir, &[], false)?;
        let home = self.shared.host.home_dir();
        let pipe_operators = self.shared.options.pipe_operators;
        self.on_large_stack(|_| {
            let arena = bumpalo::Bump::new();
            let options = ParseOptions { pipe_operators, separate_string_pieces: true, ..ParseOptions::default() };
            let parsed = parse(&arena, text, options);
            let home = home.as_deref().map_or(&b"~"[..], |home| home.as_os_str().as_bytes());
            Ok(print(parsed.expr, PrintOptions { base: base_dir, home, style: Style::Current }))
        })
    }

    /// Like [`Evaluator::parse_text`], of a file (or `default.nix` of a directory).
    ///
    /// # Errors
    /// When the file cannot be read, and mistakes in it.
    pub fn parse_file(&mut self, path: &Path) -> Result<Vec<u8>> {
        let file = self.resolve_expression_file(&path::normalise(path.as_os_str().as_bytes()))?;
        let text = self.read_file(&file)?;
        let origin = Origin::File(Arc::from(&*file.to_string_lossy()));
        let base_dir = file.parent().unwrap_or(Path::new("/")).to_owned();
        self.parse_text(&text, origin, &base_dir)
    }

    /// Returns the path of `<name>`; `name` comes without the brackets.
    ///
    /// # Errors
    /// When the search path does not have it.
    pub fn look_up(&mut self, name: &str) -> Result<PathBuf> {
        let text = format!("<{name}>");
        let value = self.eval_text(text.as_bytes(), Origin::CommandLine, Path::new("/"))?;
        self.realise_path(value)
    }

    /// Returns the value of a file, from the cache if it was imported before.
    pub(crate) fn import(&mut self, path: &[u8]) -> Result<Value> {
        let known = self.shared.imports.lock().expect(LOCK).get(path).copied();
        let thunk = match known {
            Some(thunk) => thunk,
            None => {
                let file = self.resolve_expression_file(path)?;
                // Made before locking the table: without memory for it, this unwinds.
                let new = Value::thunk(&FILE, &[Value::path(file.as_os_str().as_bytes())]);
                let thunk = *self.shared.files.lock().expect(LOCK).entry_ref(&file).or_insert(new);
                self.shared.imports.lock().expect(LOCK).insert(path.to_vec(), thunk);
                thunk
            }
        };
        self.force(thunk)
    }

    /// Returns the value of a file with more names in scope; not cached.
    pub(crate) fn import_scoped(&mut self, path: &[u8], names: &[(Symbol, Value)]) -> Result<Value> {
        let file = self.resolve_expression_file(path)?;
        self.load_file(file.as_os_str().as_bytes(), names)
    }

    /// Returns the bytes of a file, if the evaluation may use that much memory.
    pub(crate) fn read_file(&self, path: &Path) -> Result<Vec<u8>> {
        Ok(self.shared.host.read_file(path, self.account.limit_bytes())?)
    }

    fn load_file(&mut self, file: &[u8], names: &[(Symbol, Value)]) -> Result<Value> {
        let host_path = Path::new(std::ffi::OsStr::from_bytes(file));
        let (text, keep): (Arc<[u8]>, bool) = match (self.shared.globals.internal_file)(file) {
            Some(text) => (Arc::from(text), false),
            None => (Arc::from(self.read_file(host_path)?), names.is_empty()),
        };
        let origin = Origin::File(Arc::from(&*String::from_utf8_lossy(file)));
        let value = self.compile_text(text, origin, path::dir_name(file), names, keep)?;
        self.force(value)
    }

    /// Returns a thunk of the text's value. With `keep`, it uses code that an earlier process
    /// compiled, and keeps the code compiled here for the next ([`Evaluator::keep_code`]).
    fn compile_text(
        &mut self,
        text: Arc<[u8]>,
        origin: Origin,
        base_dir: &[u8],
        names: &[(Symbol, Value)],
        keep: bool,
    ) -> Result<Value> {
        let source = Arc::new(SourceText::new(origin, text));
        let base = self.shared.sources.write().expect(LOCK).add(source.clone());
        let Some(base) = base else {
            return Err(Error::other("lang::too_much_text", "more than 4 GiB of source text were read"));
        };
        let shared = self.shared.clone();
        let base_dir: Box<[u8]> = path::normalise(base_dir).into();
        let home = if shared.options.pure { None } else { shared.host.home_dir() };
        let home: Option<Box<[u8]>> = home.map(|home| home.as_os_str().as_bytes().into());
        let (pipe_operators, exact_thunks) = (shared.options.pipe_operators, shared.options.exact_thunks);
        // Lints are found by parsing.
        let cache = shared.code_cache.get().filter(|_| keep && shared.options.lints == Lints::default());
        let key = cache.map(|_| stored::key(&source.text, &shared.globals, pipe_operators, exact_thunks));
        let stored = cache.zip(key).and_then(|(cache, key)| Stored::open(cache.get(&key)?));
        let stored = stored.filter(|stored| stored.is_for(&base_dir, home.as_deref()));
        let globals = shared.globals.clone();
        let kept = Kept::new(stored);
        let file =
            Arc::new(compile::File { source, base, base_dir, home, globals, pipe_operators, exact_thunks, kept });
        let code = match file.kept.root(&file) {
            Some(code) => code,
            None => self.on_large_stack(|_| parse_and_compile(&shared, &file, names))?,
        };
        if let Some(key) = key {
            self.shared.compiled.lock().expect(LOCK).push((key, file, code));
        }
        Ok(Value::thunk(code, &[]))
    }

    /// Uses code that earlier processes compiled of files, from now on. Only the first call has an
    /// effect.
    pub fn use_code_cache(&self, cache: Arc<dyn CodeCache>) {
        self.shared.code_cache.get_or_init(|| cache);
    }

    /// Gives the cache the code compiled of files so far, for the next process.
    pub fn keep_code(&self) {
        let Some(cache) = self.shared.code_cache.get() else { return };
        let compiled = std::mem::take(&mut *self.shared.compiled.lock().expect(LOCK));
        let grown = compiled.iter().filter(|(_, file, _)| file.kept.has_grown(file.source.text.len()));
        let rows: Vec<_> = grown.filter_map(|(key, file, code)| Some((*key, stored::encode(code, file)?))).collect();
        if !rows.is_empty() {
            cache.put(&rows);
        }
    }

    /// Returns the file that `import path` reads. A path that is a link is followed, but
    /// directories in the parent path keep their names: a relative path in the file starts there.
    fn resolve_expression_file(&mut self, path: &[u8]) -> Result<PathBuf> {
        let mut path = self.checked_path(path)?;
        for _ in 0..LINKS_MAX {
            let resolved = self.resolve_parents(&path)?;
            match self.type_at(&resolved)? {
                Some(FileType::Symlink) => {
                    let target = path.parent().unwrap_or(Path::new("/")).join(self.shared.host.read_link(&resolved)?);
                    path = PathBuf::from(std::ffi::OsString::from_vec(path::normalise(target.as_os_str().as_bytes())));
                }
                Some(FileType::Directory) => {
                    path.push("default.nix");
                    self.resolve_links(&path)?;
                    return Ok(path);
                }
                _ => return Ok(path),
            }
        }
        Err(Error::other("lang::link_loop", format!("too many symbolic links in the path '{}'", path.display())))
    }

    /// Follows the symbolic links in a path, also in its last part. Parts that do not exist stay
    /// unchanged.
    ///
    /// # Errors
    /// In pure mode, when the resolved path may not be read.
    pub(crate) fn resolve_links(&mut self, path: &Path) -> Result<PathBuf> {
        let resolved = self.follow_links(path)?;
        self.check_allowed(&resolved)?;
        Ok(resolved)
    }

    /// Follows the symbolic links in the parent path, but not in the last part.
    ///
    /// # Errors
    /// In pure mode, when the resolved path may not be read.
    pub(crate) fn resolve_parents(&mut self, path: &Path) -> Result<PathBuf> {
        let resolved = match (path.parent(), path.file_name()) {
            // A root that may be read is in directories that may not; so only the whole path is
            // checked.
            (Some(parent), Some(name)) => self.follow_links(parent)?.join(name),
            _ => path.to_owned(),
        };
        self.check_allowed(&resolved)?;
        Ok(resolved)
    }

    /// Returns the type of the file at a path; `None` when it does not exist or may not be read.
    pub(crate) fn type_if_visible(&mut self, path: &[u8], follow_last: bool) -> Result<Option<FileType>> {
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        if !self.may_read(path) {
            return Ok(None);
        }
        let resolved = match (follow_last, path.parent(), path.file_name()) {
            (false, Some(parent), Some(name)) => self.follow_links(parent)?.join(name),
            (true, ..) => self.follow_links(path)?,
            _ => path.to_owned(),
        };
        if self.may_read(&resolved) { self.type_at(&resolved) } else { Ok(None) }
    }

    /// Returns the type of the file at a resolved path.
    pub(crate) fn type_at(&self, path: &Path) -> Result<Option<FileType>> {
        if (self.shared.globals.internal_file)(path.as_os_str().as_bytes()).is_some() {
            return Ok(Some(FileType::Regular));
        }
        Ok(self.shared.host.file_type(path)?)
    }

    /// Follows links without checking the result: callers do, before they ask the host for more
    /// than links.
    fn follow_links(&mut self, path: &Path) -> Result<PathBuf> {
        // Most files are in directories that others were read from: then only the last part is left
        // to check.
        let known = match path.parent() {
            Some(parent) if self.shared.plain_directories.read().expect(LOCK).contains(parent) => parent,
            _ => Path::new("/"),
        };
        let mut plain = true;
        let mut done = known.to_owned();
        let mut rest: Vec<std::ffi::OsString> = path
            .strip_prefix(known)
            .unwrap_or(path)
            .components()
            .rev()
            .filter_map(|part| match part {
                std::path::Component::Normal(part) => Some(part.to_owned()),
                _ => None,
            })
            .collect();
        let mut links = 0;
        while let Some(part) = rest.pop() {
            if part == ".." {
                done.pop();
                continue;
            }
            done.push(&part);
            // Directories above the allowed roots are not queried, so that pure evaluation sees no
            // more than it should.
            if !self.may_read(&done) {
                continue;
            }
            let kind = self.shared.host.file_type(&done)?;
            if kind == Some(FileType::Directory) && plain {
                self.shared.plain_directories.write().expect(LOCK).insert(done.clone());
            }
            if kind == Some(FileType::Symlink) {
                plain = false;
                links += 1;
                if links > LINKS_MAX {
                    return Err(Error::other(
                        "lang::link_loop",
                        format!("too many symbolic links in the path '{}'", path.display()),
                    ));
                }
                let target = self.shared.host.read_link(&done)?;
                done.pop();
                if target.is_absolute() {
                    done = PathBuf::from("/");
                }
                for part in target.components().rev() {
                    match part {
                        std::path::Component::Normal(part) => rest.push(part.to_owned()),
                        std::path::Component::ParentDir => rest.push("..".into()),
                        _ => {}
                    }
                }
            }
        }
        Ok(done)
    }

    /// Lets pure evaluation read a directory tree, for an embedder whose user names one later.
    pub fn allow_reading(&self, root: &Path) {
        self.allow(root.to_owned());
    }

    /// Invalidates the caches of files, so that changed files are read and copied again.
    pub fn forget_files(&mut self) {
        self.shared.imports.lock().expect(LOCK).clear();
        self.shared.files.lock().expect(LOCK).clear();
        self.shared.copied.lock().expect(LOCK).clear();
        self.shared.lookups.lock().expect(LOCK).clear();
        self.shared.plain_directories.write().expect(LOCK).clear();
    }

    /// Lets pure evaluation read a directory tree.
    pub(crate) fn allow(&self, root: PathBuf) {
        self.shared.allowed_roots.write().expect(LOCK).push(root);
    }

    fn may_read(&self, path: &Path) -> bool {
        !(self.shared.options.pure || self.shared.options.restrict)
            || path.starts_with(self.shared.options.store_model.store_dir())
            || (self.shared.globals.internal_file)(path.as_os_str().as_bytes()).is_some()
            || self.shared.allowed_roots.read().expect(LOCK).iter().any(|root| path.starts_with(root))
    }

    /// Returns the path as the host takes it, if it may be read.
    pub(crate) fn checked_path(&self, path: &[u8]) -> Result<PathBuf> {
        let path = PathBuf::from(std::ffi::OsString::from_vec(path.to_vec()));
        self.check_allowed(&path)?;
        Ok(path)
    }

    fn check_allowed(&self, path: &Path) -> Result<()> {
        if !self.may_read(path) {
            let path = path.display();
            if self.shared.options.pure {
                return Err(Error::other(
                    "lang::pure_path",
                    format!("access to absolute path '{path}' is forbidden in pure evaluation mode"),
                )
                .help("use `--impure` to override"));
            }
            return Err(Error::other(
                "lang::restricted_path",
                format!("access to absolute path '{path}' is forbidden in restricted mode"),
            )
            .help("add its directory to the search path with `-I`"));
        }
        Ok(())
    }

    /// Builds the store paths that a string refers to, so that they can be read (import from
    /// derivation).
    pub(crate) fn realise_context(&mut self, context: crate::value::Context) -> Result<()> {
        let model = self.shared.options.store_model;
        let mut wanted: Vec<(model::StorePath, Vec<String>)> = Vec::new();
        for element in context.elements() {
            let text = String::from_utf8_lossy(element.path()).into_owned();
            let path = model.parse(&text).map_err(|error| Error::other("lang::store_path", error.to_string()))?;
            match element {
                ContextElement::Built { output, .. } => {
                    let output = String::from_utf8_lossy(output.name()).into_owned();
                    match wanted.iter_mut().find(|(derivation, _)| *derivation == path) {
                        Some((_, outputs)) => outputs.push(output),
                        None => wanted.push((path, vec![output])),
                    }
                }
                ContextElement::Opaque(_) | ContextElement::DerivationDeep(_) => {
                    self.shared.host.ensure_path(&path)?;
                }
            }
        }
        if !wanted.is_empty() {
            self.shared.host.realise(&wanted)?;
        }
        Ok(())
    }

    /// Returns the path of a value, built if necessary, after checking that it may be read.
    pub(crate) fn realise_path(&mut self, value: Value) -> Result<PathBuf> {
        let (path, context) = self.coerce_to_path(value)?;
        if !context.is_empty() {
            self.realise_context(context)?;
        }
        self.checked_path(&path::normalise(&path))
    }
}

fn parse_and_compile(
    shared: &Evaluation,
    file: &Arc<compile::File>,
    names: &[(Symbol, Value)],
) -> Result<&'static Code> {
    let arena = bumpalo::Bump::new();
    let options =
        ParseOptions { pipe_operators: file.pipe_operators, lints: shared.options.lints, ..ParseOptions::default() };
    let parsed = parse(&arena, &file.source.text, options);
    for warning in &parsed.warnings {
        shared.host.notice(&crate::error::Report::of_text(warning, &file.source));
    }
    if !parsed.errors.is_empty() {
        return Err(Error::syntax(parsed.errors, file.base));
    }
    compile::compile(parsed.expr, file, names)
}
