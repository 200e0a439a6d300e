//! Fetches sources for the language: files, unpacked archives and trees of Git repositories, as
//! local paths. Hosts add them to their store.
//!
//! ```text
//! files/<hash of a URL>    its last download, reused for an hour
//! trees/archive-<hash>/    the content of the archive with that hash; its modification time is that of the newest entry
//! trees/git-<commit>…/     the files of a commit
//! git/                     copies of remote repositories (see `git/copy.rs`)
//! ```
//!
//! A tree is written under a temporary name and renamed, so an existing one is complete. Nothing
//! here decides whether something may be fetched: pure and restricted evaluation are `lang`'s.

mod git;
mod in_place;
mod waiting;

use crate::hooks::Reporter;
use crate::host::other;
use crate::registry::{LazyRegistries, RegistryError, Scope};
use archive::UnpackError;
use fetch::{Fetch, FetchConfig, FetchError, Fetcher, redact};
use lang::builtins::local_file as local;
use lang::flake::FlakeRef;
use lang::host::{
    FetchKind, FetchRequest, FetchValue, Fetched, Host, HostError, HostErrorKind, HostResult, Severity, SourceFilter,
};
use model::path::Ingestion;
use model::{Hash, HashAlgorithm, Hasher, StorePath, StorePathName};
use os::private;
use os::space::{FreeSpace, OutOfSpace};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use store::SourceKind;
use store::archive::{ArchiveError, write_filtered};
use waiting::Waiting;

pub use in_place::{LocalTrees, Members, TreeUse, git_tree_of, reference_of_directory};

/// Time that a download without a hash is reused for.
const FRESH_FOR: Duration = Duration::from_secs(3600);

/// Directories that are larger are copied with a warning.
const LARGE_BYTES: u64 = 100_000_000;

/// Advice when the file system of the cache is full.
pub const CACHE_REMEDY: &str = "free some space there, or set XDG_CACHE_HOME to a directory on a larger file system";

pub struct Sources {
    cache: PathBuf,
    /// Returns the configuration of fetches. Called with the first fetch, because it reads the
    /// machine's configuration.
    config: Box<dyn Fn() -> FetchConfig + Send + Sync>,
    fetcher: OnceLock<Fetcher>,
    /// Free space of the cache.
    space: Arc<FreeSpace>,
    /// Notified of downloads that take long.
    reporter: Arc<dyn Reporter>,
    /// When set, downloads from before this time are not reused.
    refresh_since: Option<SystemTime>,
    /// When set, everything that was downloaded is reused, and nothing else can be had.
    offline: bool,
    registries: Arc<LazyRegistries>,
    /// Warn about working trees with changes.
    warn_dirty: bool,
    /// Results for sources of other machines, by the request: a session sees one version of each, and
    /// asks for it once.
    seen: Mutex<BTreeMap<String, Fetched>>,
}

/// A fetched file or tree.
pub(crate) struct Obtained {
    path: PathBuf,
    ingestion: Ingestion,
    /// The tracked files of a working tree and their directories, relative to `path`.
    members: Option<BTreeSet<PathBuf>>,
    /// Attributes besides the hash.
    attributes: BTreeMap<String, FetchValue>,
    /// The value of [`Fetched::branch`].
    branch: Option<String>,
}

impl Obtained {
    fn tree(path: PathBuf) -> Obtained {
        Obtained { path, ingestion: Ingestion::Recursive, members: None, attributes: BTreeMap::new(), branch: None }
    }

    /// Returns whether a path below `path` belongs to it.
    fn has(&self, relative: &Path) -> bool {
        self.members.as_ref().is_none_or(|members| members.contains(relative))
    }

    /// Adds it to a host's store.
    pub(crate) fn add_to(
        &self,
        host: &dyn Host,
        name: &StorePathName,
        expected: Option<&Hash>,
    ) -> HostResult<StorePath> {
        let mut filter = |path: &Path, _| Ok(path.strip_prefix(&self.path).is_ok_and(|below| self.has(below)));
        let filter: Option<SourceFilter<'_>> = if self.members.is_some() { Some(&mut filter) } else { None };
        host.add_source(&self.path, name, self.ingestion, filter, expected)
    }

    /// Returns the hash of the file or of the tree's NAR, with the algorithm of the expected hash.
    fn hash(&self, expected: Option<&Hash>) -> HostResult<Hash> {
        let mut hasher = Hasher::new(expected.map_or(HashAlgorithm::Sha256, Hash::algorithm));
        if self.ingestion == Ingestion::Recursive {
            let mut keep = |relative: &Path, _: SourceKind| -> Result<bool, ArchiveError> { Ok(self.has(relative)) };
            write_filtered(&self.path, &mut hasher, &mut keep).map_err(other)?;
        } else {
            let copied = fs::File::open(&self.path).and_then(|mut file| std::io::copy(&mut file, &mut hasher));
            copied.map_err(|cause| failed("cannot read", &self.path, &cause))?;
        }
        Ok(hasher.finish())
    }
}

fn failed(what: &str, path: &Path, cause: &std::io::Error) -> HostError {
    other(format!("{what} `{}`: {}", path.display(), os::io_reason(cause)))
}

/// Makes the error of an archive, with its advice.
fn unpack_failed(error: UnpackError) -> HostError {
    let help = error.help().map(str::to_owned);
    HostError { help, ..HostError::from_cause(error) }
}

/// Makes the error of a fetch, with its advice.
fn fetch_failed(error: FetchError) -> HostError {
    let help = error.help();
    let code = match &error {
        FetchError::Offline { .. } => Some("build::offline"),
        error if error.is_network() => Some("build::network"),
        _ => None,
    };
    HostError { help, code, ..HostError::from_cause(error) }
}

/// Makes the error of a full file system, with its advice.
fn out_of_space(error: OutOfSpace) -> HostError {
    let help = error.help;
    HostError::from_cause(error).code("store::out_of_space").help(help)
}

/// Makes an error with a message for its causes, and the advice of a full file system among them.
fn with_causes(message: String, error: &(dyn std::error::Error + 'static)) -> HostError {
    let full = std::iter::successors(Some(error), |&error| error.source()).find_map(|error| {
        // An I/O error is not the cause of itself, but may contain one.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        error.downcast_ref::<OutOfSpace>().or_else(|| inner?.downcast_ref())
    });
    match full {
        Some(full) => other(message).code("store::out_of_space").help(full.help),
        None => other(message),
    }
}

fn text<'r>(request: &'r FetchRequest, name: &str) -> Option<&'r str> {
    match request.attributes.get(name) {
        Some(FetchValue::String(text)) => Some(text),
        _ => None,
    }
}

fn flag(request: &FetchRequest, name: &str) -> Option<bool> {
    match request.attributes.get(name) {
        Some(FetchValue::Bool(flag)) => Some(*flag),
        _ => None,
    }
}

/// Returns whether a request has everything that a fetch would find out, as those of a lock file
/// do.
pub fn is_locked(request: &FetchRequest) -> bool {
    request.attributes.contains_key("narHash") && request.attributes.contains_key("lastModified")
}

/// Returns whether every successful fetch gives the same tree and attributes. The revision of a Git
/// repository is a hash of both.
pub fn is_fixed(request: &FetchRequest) -> bool {
    let is_plain = matches!(request.kind, FetchKind::File | FetchKind::Tarball);
    let is_git = request.kind == FetchKind::Git || text(request, "type") == Some("git");
    request.expected.is_some() && (is_plain || is_locked(request)) || is_git && text(request, "rev").is_some()
}

/// Returns the attributes that a locked request has of its tree.
pub fn locked_attributes(request: &FetchRequest) -> BTreeMap<String, FetchValue> {
    let mut attributes = BTreeMap::new();
    for name in ["narHash", "revCount"] {
        attributes.extend(request.attributes.get_key_value(name).map(|(name, value)| (name.clone(), value.clone())));
    }
    if let Some(rev) = text(request, "rev") {
        git::add_rev(&mut attributes, rev);
    }
    if let Some(&FetchValue::Int(seconds)) = request.attributes.get("lastModified") {
        git::add_time(&mut attributes, seconds);
    }
    if text(request, "type") == Some("git") {
        let submodules = flag(request, "submodules").unwrap_or(false);
        attributes.insert("submodules".to_owned(), FetchValue::Bool(submodules));
    }
    attributes
}

impl Sources {
    /// Stores downloads below `cache`, which is created with the first one. Downloads that take
    /// long are reported.
    pub fn new(
        cache: PathBuf,
        reporter: Arc<dyn Reporter>,
        config: impl Fn() -> FetchConfig + Send + Sync + 'static,
    ) -> Sources {
        let space = Arc::new(FreeSpace::new(&cache, CACHE_REMEDY));
        Sources {
            cache,
            config: Box::new(config),
            fetcher: OnceLock::new(),
            space,
            reporter,
            refresh_since: None,
            offline: false,
            warn_dirty: true,
            registries: Arc::default(),
            seen: Mutex::default(),
        }
    }

    /// Looks names of flakes up in these registries.
    #[must_use]
    pub fn with_registries(self, registries: Arc<LazyRegistries>) -> Sources {
        Sources { registries, ..self }
    }

    /// Uses the network for nothing when `offline` is set.
    #[must_use]
    pub fn offline(self, offline: bool) -> Sources {
        Sources { offline, ..self }
    }

    /// Returns an error when the network must not be used for this URL.
    fn require_network(&self, what: &str) -> HostResult<()> {
        match self.offline {
            true => Err(offline(what)),
            false => Ok(()),
        }
    }

    /// Resolves URLs and branches again, even those resolved within the last hour.
    #[must_use]
    pub fn refreshed(self) -> Sources {
        Sources { refresh_since: Some(SystemTime::now()), ..self }
    }

    /// Sets whether to warn about working trees with changes.
    #[must_use]
    pub fn warning_of_changes(self, warn_dirty: bool) -> Sources {
        Sources { warn_dirty, ..self }
    }

    pub fn warns_of_changes(&self) -> bool {
        self.warn_dirty
    }

    /// Returns whether a download without a hash, at this path, is reused.
    fn is_fresh(&self, path: &Path) -> bool {
        if self.offline {
            return path.exists();
        }
        fs::metadata(path).and_then(|meta| meta.modified()).is_ok_and(|time| {
            time.elapsed().is_ok_and(|age| age < FRESH_FOR) && self.refresh_since.is_none_or(|since| time >= since)
        })
    }

    /// Fetches for a request, and adds the result to a host's store.
    ///
    /// # Errors
    /// The errors of [`Sources::obtain`]; when the hash differs from the expected one; when the
    /// host cannot add the result.
    pub(crate) fn fetch(&self, host: &dyn Host, request: &FetchRequest) -> HostResult<Fetched> {
        let is_local =
            text(request, "type") == Some("path") || text(request, "url").is_some_and(|url| local(url).is_some());
        // A name of a registry may mean a directory.
        if is_local || text(request, "type") == Some("indirect") {
            return self.fetch_now(host, request);
        }
        let key = format!("{request:?}");
        if let Some(seen) = os::lock(&self.seen).get(&key) {
            return Ok(seen.clone());
        }
        let fetched = self.fetch_now(host, request)?;
        os::lock(&self.seen).insert(key, fetched.clone());
        Ok(fetched)
    }

    fn fetch_now(&self, host: &dyn Host, request: &FetchRequest) -> HostResult<Fetched> {
        let mut obtained = self
            .obtain(request, &|warning| host.message(Severity::Warning, warning))
            .map_err(|error| if error.message.ends_with(OFFLINE) { with_offline_help(error) } else { error })?;
        let name = request.name.as_deref().unwrap_or("source");
        let name = StorePathName::new(name).map_err(other)?;
        let is_tree = matches!(request.kind, FetchKind::Git | FetchKind::Mercurial | FetchKind::Tree);
        if is_tree || request.expected.is_some() {
            let hash = obtained.hash(request.expected.as_ref())?;
            if let Some(expected) = request.expected.filter(|expected| *expected != hash) {
                let from = text(request, "url").or(text(request, "path")).unwrap_or("what was fetched").to_owned();
                return Err(other(format!(
                    "hash mismatch in '{from}'\n  specified: {}\n  got:       {}",
                    expected.sri(),
                    hash.sri()
                )));
            }
            if is_tree {
                obtained.attributes.insert("narHash".to_owned(), FetchValue::String(hash.sri()));
            }
        }
        let path = obtained.add_to(host, &name, request.expected.as_ref())?;
        Ok(Fetched { path, attributes: obtained.attributes, branch: obtained.branch })
    }

    /// Fetches for a request. `warn` receives warnings.
    ///
    /// # Errors
    /// When the fetch fails, or its kind is not supported.
    fn obtain(&self, request: &FetchRequest, warn: &dyn Fn(&str)) -> HostResult<Obtained> {
        match request.kind {
            FetchKind::File => self.file(url(request)?, Ingestion::Flat),
            FetchKind::Tarball => self.tarball(url(request)?),
            FetchKind::Git => git::obtain(self, &git_request(request, true)?, warn),
            FetchKind::Mercurial => Err(mercurial()),
            FetchKind::Tree => self.tree(request, warn),
        }
    }

    fn tree(&self, request: &FetchRequest, warn: &dyn Fn(&str)) -> HostResult<Obtained> {
        let mut obtained = match text(request, "type").unwrap_or_default() {
            "path" => {
                let path = text(request, "path").ok_or_else(|| other("a reference of type 'path' has no 'path'"))?;
                let mut obtained = Obtained::tree(PathBuf::from(path));
                // One that is locked was copied before.
                if request.expected.is_none() && size_exceeds(&obtained.path, LARGE_BYTES) {
                    let advice = match git_tree_of(&obtained.path) {
                        Some(_) => ", also files that Git does not track; `git+file:` takes the tracked ones",
                        None => "",
                    };
                    warn(&format!(
                        "all of '{}' is copied to the store, which is more than {} MB{advice}",
                        obtained.path.display(),
                        LARGE_BYTES / 1_000_000
                    ));
                }
                if !request.attributes.contains_key("lastModified") {
                    let seconds = newest(&obtained.path)
                        .map_err(|cause| failed("cannot read the times in", &obtained.path, &cause))?;
                    git::add_time(&mut obtained.attributes, seconds);
                }
                obtained
            }
            "git" => git::obtain(self, &git_request(request, false)?, warn)?,
            "tarball" => self.tarball(url(request)?)?,
            "file" => self.file(url(request)?, Ingestion::Recursive)?,
            kind @ ("github" | "gitlab" | "sourcehut") => {
                let forge = Forge::of(kind, request)?;
                let rev = match text(request, "rev") {
                    Some(rev) => rev.to_owned(),
                    None => git::find(self, &forge.repository(), text(request, "ref"))?,
                };
                let mut obtained = self.tarball(&forge.archive(&rev)?)?;
                git::add_rev(&mut obtained.attributes, &rev);
                obtained
            }
            "hg" => return Err(mercurial()),
            "indirect" => {
                let reference = FlakeRef::from_attributes(request.attributes.clone());
                let resolved = self.registries.resolve(&reference, Scope::All).map_err(unknown_flake)?;
                let attributes = resolved.into_attributes();
                return self.tree(&FetchRequest { attributes, ..request.clone() }, warn);
            }
            kind => return Err(HostError::unsupported(&format!("fetching a tree of the type '{kind}'"))),
        };
        // The age in a lock file is right, because the hash identifies the tree.
        if let Some(&FetchValue::Int(seconds)) = request.attributes.get("lastModified") {
            git::add_time(&mut obtained.attributes, seconds);
        }
        Ok(obtained)
    }

    fn file(&self, url: &str, ingestion: Ingestion) -> HostResult<Obtained> {
        Ok(Obtained { ingestion, ..Obtained::tree(self.download(url)?) })
    }

    /// Returns a local file, or the download of a URL from the last hour.
    fn download(&self, url: &str) -> HostResult<PathBuf> {
        if let Some(path) = local(url) {
            return Ok(path);
        }
        let name = HashAlgorithm::Sha256.hash(url.as_bytes()).hex();
        let path = self.directory("files")?.join(name);
        if self.is_fresh(&path) {
            return Ok(path);
        }
        self.require_network(&redact(url))?;
        let fetch = Fetch { urls: vec![url.to_owned()], expected: None, name: url.to_owned() };
        let waiting = self.waiting(&redact(url));
        self.fetcher().fetch(&fetch, &path, &|bytes, _| waiting.set(bytes)).map_err(fetch_failed)?;
        Ok(path)
    }

    fn waiting(&self, url: &str) -> Waiting {
        Waiting::new(url, self.reporter.clone())
    }

    fn fetcher(&self) -> &Fetcher {
        self.fetcher.get_or_init(|| Fetcher::new((self.config)()))
    }

    /// Returns the content of an archive, or that of its only directory when it has one and nothing
    /// else.
    fn tarball(&self, url: &str) -> HostResult<Obtained> {
        let archive = self.download(url)?;
        let unreadable = |cause| failed("cannot read", &archive, &cause);
        let mut hasher = Hasher::new(HashAlgorithm::Sha256);
        fs::File::open(&archive).and_then(|mut file| std::io::copy(&mut file, &mut hasher)).map_err(unreadable)?;
        let key = format!("archive-{}", hasher.finish().hex());
        let tree = self.kept_tree(&key, |directory| {
            let options = archive::Options { room: Some(Arc::clone(&self.space)), ..archive::Options::default() };
            let unpacked = archive::unpack(std::slice::from_ref(&archive), directory, &options);
            // An archive may have a time that no file system can store.
            let newest = unpacked.map_err(unpack_failed)?.newest.min(u32::MAX.into());
            let newest = UNIX_EPOCH + Duration::from_secs(newest);
            let dated = fs::File::open(directory).and_then(|directory| directory.set_modified(newest));
            dated.map_err(|cause| failed("cannot set the time of", directory, &cause))
        })?;
        let newest = fs::metadata(&tree).map_err(|cause| failed("cannot access", &tree, &cause))?.mtime();
        let entries: Vec<_> = fs::read_dir(&tree)
            .and_then(Iterator::collect::<Result<_, _>>)
            .map_err(|cause| failed("cannot list", &tree, &cause))?;
        let mut obtained = match &entries[..] {
            [only] if only.file_type().is_ok_and(|kind| kind.is_dir()) => Obtained::tree(only.path()),
            _ => Obtained::tree(tree),
        };
        git::add_time(&mut obtained.attributes, newest);
        Ok(obtained)
    }

    /// Returns the tree called `key`; `make` fills its directory if it does not exist.
    fn kept_tree(&self, key: &str, make: impl FnOnce(&Path) -> HostResult<()>) -> HostResult<PathBuf> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let directory = self.directory("trees")?;
        let tree = directory.join(key);
        if tree.is_dir() {
            return Ok(tree);
        }
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let fresh = directory.join(format!(".{key}.{}.{count}", std::process::id()));
        let made = private::make_directory(&fresh)
            .map_err(|cause| failed("cannot create the directory", &fresh, &cause))
            .and_then(|()| make(&fresh))
            .and_then(|()| fs::rename(&fresh, &tree).map_err(|cause| failed("cannot rename", &fresh, &cause)));
        if let Err(error) = made {
            let _ = fs::remove_dir_all(&fresh);
            // Another process may have been faster, and created the same.
            if !tree.is_dir() {
                return Err(error);
            }
        }
        Ok(tree)
    }

    fn directory(&self, name: &str) -> HostResult<PathBuf> {
        let directory = self.cache.join(name);
        let made = private::make_directories(&self.cache).and_then(|()| private::make_directories(&directory));
        made.map_err(|cause| failed("cannot create the directory", &directory, &cause))?;
        Ok(directory)
    }
}

/// Makes the error of something that would need the network.
fn offline(what: &str) -> HostError {
    with_offline_help(HostError::new(HostErrorKind::NotFound, format!("`{what}` {OFFLINE}")))
}

/// End of the messages about things that would need the network.
const OFFLINE: &str = "is in no cache, and `--offline` forbids to fetch it";

fn with_offline_help(error: HostError) -> HostError {
    error.code("build::offline").help("run it once without `--offline` where there is a network")
}

/// Makes the error of a name that no registry has.
fn unknown_flake(error: RegistryError) -> HostError {
    let help = error.help();
    HostError { help, ..HostError::from_cause(error).code("registry") }
}

fn mercurial() -> HostError {
    HostError::unsupported("fetching from Mercurial repositories")
}

fn url(request: &FetchRequest) -> HostResult<&str> {
    text(request, "url").ok_or_else(|| other("there is no `url` to fetch from"))
}

/// Returns whether the files of a directory have more than so many bytes together, without reading
/// more of it than is needed to know.
fn size_exceeds(directory: &Path, bytes_max: u64) -> bool {
    let mut total = 0_u64;
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            match meta.is_dir() {
                true => directories.push(entry.path()),
                false => total = total.saturating_add(meta.len()),
            }
            if total > bytes_max {
                return true;
            }
        }
    }
    false
}

/// Returns the latest modification time of `path` and everything in it, in seconds since 1970.
fn newest(path: &Path) -> std::io::Result<i64> {
    let meta = fs::symlink_metadata(path)?;
    let mut seconds = meta.mtime();
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            seconds = seconds.max(newest(&entry?.path())?);
        }
    }
    Ok(seconds)
}

fn git_request(request: &FetchRequest, is_fetch_git: bool) -> HostResult<git::Request<'_>> {
    let submodules = flag(request, "submodules").unwrap_or(false);
    Ok(git::Request {
        url: url(request)?,
        reference: text(request, "ref"),
        rev: text(request, "rev"),
        submodules,
        // As in Nix: `fetchGit` leaves out the files that `git archive` does, `fetchTree` does not.
        export_ignore: flag(request, "exportIgnore").unwrap_or(is_fetch_git && !submodules),
        large_files: flag(request, "lfs").unwrap_or(false),
        shallow: flag(request, "shallow").unwrap_or(false),
        zeros: is_fetch_git,
    })
}

/// A repository on a forge.
struct Forge<'r> {
    kind: &'r str,
    host: &'r str,
    owner: &'r str,
    repo: &'r str,
}

impl<'r> Forge<'r> {
    fn of(kind: &'r str, request: &'r FetchRequest) -> HostResult<Forge<'r>> {
        let needed = |name: &str| {
            let value =
                text(request, name).ok_or_else(|| other(format!("a reference of type '{kind}' has no '{name}'")))?;
            Forge::plain(kind, name, value)
        };
        let host = match (request.attributes.contains_key("host"), kind) {
            (true, _) => needed("host")?,
            (false, "gitlab") => "gitlab.com",
            (false, "sourcehut") => "git.sr.ht",
            (false, _) => "github.com",
        };
        Ok(Forge { kind, host, owner: needed("owner")?, repo: needed("repo")? })
    }

    /// Returns a value that can be part of a URL unchanged.
    fn plain<'v>(kind: &str, name: &str, value: &'v str) -> HostResult<&'v str> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
        if value.is_empty() || !value.bytes().all(plain) || value.split('/').any(|part| part == "..") {
            return Err(other(format!("'{value}' cannot be the '{name}' of a reference of type '{kind}'")));
        }
        Ok(value)
    }

    fn repository(&self) -> String {
        let suffix = if self.kind == "sourcehut" { "" } else { ".git" };
        format!("https://{}/{}/{}{suffix}", self.host, self.owner, self.repo)
    }

    /// Returns the URL of the files of a revision.
    fn archive(&self, rev: &str) -> HostResult<String> {
        let rev = Forge::plain(self.kind, "rev", rev)?;
        let Forge { kind, host, owner, repo } = self;
        Ok(match *kind {
            "gitlab" => {
                let project = owner.replace('/', "%2F");
                format!("https://{host}/api/v4/projects/{project}%2F{repo}/repository/archive.tar.gz?sha={rev}")
            }
            _ => format!("https://{host}/{owner}/{repo}/archive/{rev}.tar.gz"),
        })
    }
}
