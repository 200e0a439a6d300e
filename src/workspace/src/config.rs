//! What the surroundings say: where the store lies, how many cores there are, which system this is.

use std::path::{Path, PathBuf};

use builder::fetch::FetchConfig;
use store::{Durability, LocalStore, OpenOptions};

use crate::cli::Global;
use crate::code_cache::CodeCache;
use crate::host::machine;
use crate::print::remark;
use crate::report::Failure;
use crate::sources::{CACHE_REMEDY, Sources};

/// The physical root of the store: `--root` or `$EVAL_ROOT`, else `/eval` when it exists and can be written, else
/// `$XDG_DATA_HOME/eval`, else `~/.local/share/eval`.
///
/// # Errors
/// When none of these can be known, as no home folder is set.
pub fn store_root(global: &Global) -> Result<PathBuf, Failure> {
    if let Some(root) = &global.root {
        return std::path::absolute(root).map_err(|cause| Failure::io("cannot make absolute", root, cause));
    }
    let system = Path::new("/eval");
    if system.is_dir() && writable(system) {
        return Ok(system.to_owned());
    }
    user_folder("XDG_DATA_HOME", ".local/share").ok_or_else(|| {
        Failure::new(
            "cannot tell where the store lies: neither `EVAL_ROOT`, `XDG_DATA_HOME` nor `HOME` is an absolute path",
        )
        .help("set `EVAL_ROOT` to a folder that you can write to")
    })
}

/// This program's folder in the one that `variable` names, or else in `below_home`; none when neither that variable nor
/// `HOME` is an absolute path. See the XDG Base Directory Specification.
pub fn user_folder(variable: &str, below_home: &str) -> Option<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    Some(named.or_else(|| Some(machine::home_dir()?.join(below_home)))?.join("eval"))
}

/// Opens the store at the root that the flags and the environment name.
///
/// # Errors
/// When it cannot be made or opened.
pub fn open_store(global: &Global) -> Result<LocalStore, Failure> {
    let root = store_root(global)?;
    let store = LocalStore::open_with(&root, open_options(global))?;
    warn_of_exposure(&root);
    Ok(store)
}

/// Says so when another user could exchange what root builds and delivers. Not an error: in containers and on machines with
/// one user it is common that root works in the directory of another.
fn warn_of_exposure(root: &Path) {
    if store::place::is_root()
        && let Some(exposure) = store::place::exposure(root)
    {
        remark!("warning: {exposure}; set EVAL_ROOT to a directory that only root can write, such as /eval");
    }
}

/// How the flags and the environment say that the store is to be opened.
pub fn open_options(global: &Global) -> OpenOptions {
    let durability = match global.durability {
        crate::cli::Durability::Full => Durability::Full,
        crate::cli::Durability::Relaxed => Durability::Relaxed,
    };
    OpenOptions { durability }
}

/// The system that builds run on, as derivations name it.
pub fn current_system() -> String {
    format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)
}

/// Whether this process could make files in a folder, by trying: permission bits do not tell of read-only mounts.
fn writable(folder: &Path) -> bool {
    let probe = folder.join(format!(".probe-{}", std::process::id()));
    std::fs::create_dir(&probe).and_then(|()| std::fs::remove_dir(&probe)).is_ok()
}

/// The user's cache; none when there is no home folder.
fn user_cache() -> Option<PathBuf> {
    user_folder("XDG_CACHE_HOME", ".cache")
}

/// What expressions fetch, kept in the user's cache; none when there is no home folder. With `tells`, what takes a while is said.
pub fn cached_sources(tells: bool, config: impl Fn() -> FetchConfig + Send + Sync + 'static) -> Option<Sources> {
    Some(Sources::new(user_cache()?, tells, config))
}

/// The code of files that were evaluated before, in the user's cache; none when there is no home folder.
pub fn code_cache() -> Option<CodeCache> {
    Some(CodeCache::new(user_cache()?))
}

/// How sources are fetched without a store.
pub fn plain_fetch_config() -> FetchConfig {
    let partial = user_cache().unwrap_or_else(std::env::temp_dir).join("partial");
    let config = FetchConfig::from_environment(std::env::vars_os(), Path::new("/"), partial);
    FetchConfig { space_help: CACHE_REMEDY, cancel: crate::interrupt::flag(), ..config }
}

/// How sources are fetched: `EVAL_MIRRORS`, then what the machine's own configuration says of mirrors, proxies and certificates.
///
/// # Errors
/// When an entry of `EVAL_MIRRORS` is not `name=url`.
pub fn fetch_config(store: &LocalStore) -> Result<FetchConfig, Failure> {
    let mut config =
        FetchConfig::from_environment(std::env::vars_os(), Path::new("/"), store.root().join("tmp").join("partial"));
    let mut mirrors = Vec::new();
    for entry in std::env::var("EVAL_MIRRORS").unwrap_or_default().split_whitespace() {
        match entry.split_once('=') {
            Some((name, url)) => mirrors.push((name.to_owned(), url.to_owned())),
            None => {
                return Err(Failure::usage(format!("`{entry}` in `EVAL_MIRRORS` is not of the form `name=url`"))
                    .help("for example: EVAL_MIRRORS='debian=http://mirror.example/debian'"));
            }
        }
    }
    mirrors.append(&mut config.mirrors);
    config.mirrors = mirrors;
    config.cancel = crate::interrupt::flag();
    Ok(config)
}

/// Bytes of a size such as `500M` or `4G`; a number alone is bytes.
///
/// # Errors
/// When it is no size.
pub fn parse_size(text: &str) -> Result<usize, String> {
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 10),
        Some((at, 'm' | 'M')) => (&text[..at], 20),
        Some((at, 'g' | 'G')) => (&text[..at], 30),
        Some((at, 't' | 'T')) => (&text[..at], 40),
        _ => (text, 0),
    };
    let size = digits.parse::<usize>().ok().and_then(|number| number.checked_mul(1 << shift));
    size.ok_or_else(|| "not a size: a number of bytes, or one with `K`, `M`, `G` or `T`".to_owned())
}

/// Nine tenths of the memory that is free, in the machine and in the control groups this process is in; `None` where
/// the kernel does not tell.
pub fn free_memory_bytes() -> Option<usize> {
    usize::try_from(builder::memory::available_bytes()? / 10 * 9).ok()
}
