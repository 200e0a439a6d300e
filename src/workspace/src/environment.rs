//! The user's environment as data: variables, and the directories and settings that follow from
//! them.

use crate::error::Error;
use crate::hooks::Interrupts;
use crate::sources::CACHE_REMEDY;
use fetch::FetchConfig;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The store's root on machines that have one for all users.
const SYSTEM_ROOT: &str = "/eval";

/// Environment variables of one user.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
}

impl Environment {
    /// Takes variables, such as those of `std::env::vars_os()`. The first of two with one name
    /// wins, as in `getenv`.
    pub fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Environment {
        let mut kept = BTreeMap::new();
        for (name, value) in variables {
            kept.entry(name).or_insert(value);
        }
        Environment { variables: kept }
    }

    /// Sets a variable, in place of the one of this name.
    pub fn set(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) {
        self.variables.insert(name.into(), value.into());
    }

    pub fn variable(&self, name: impl AsRef<OsStr>) -> Option<&OsStr> {
        self.variables.get(name.as_ref()).map(OsString::as_os_str)
    }

    /// Returns a variable's value if it is UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.variable(name)?.to_str()
    }

    /// Returns `HOME` if it is an absolute path.
    pub fn home(&self) -> Option<PathBuf> {
        self.absolute("HOME")
    }

    fn absolute(&self, name: &str) -> Option<PathBuf> {
        self.variable(name).map(PathBuf::from).filter(|path| path.is_absolute())
    }

    /// Returns `TMPDIR`, or `/tmp`.
    pub fn temporary_directory(&self) -> PathBuf {
        self.variable("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from)
    }

    /// Returns this program's directory below the one that `variable` names, or else below
    /// `below_home` in the home directory; `None` when neither `variable` nor `HOME` is an absolute
    /// path. Follows the XDG Base Directory Specification.
    pub fn user_directory(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        Some(self.absolute(variable).or_else(|| Some(self.home()?.join(below_home)))?.join("eval"))
    }

    /// Returns the user's cache directory; `None` without a home directory.
    pub fn cache(&self) -> Option<PathBuf> {
        self.user_directory("XDG_CACHE_HOME", ".cache")
    }

    /// Returns the default root of the store: `/eval` if it exists and is writable, else
    /// `$XDG_DATA_HOME/eval`, else `~/.local/share/eval`.
    ///
    /// # Errors
    /// [`Error::NoStoreRoot`] when no home directory is set.
    pub fn store_root(&self) -> Result<PathBuf, Error> {
        let system = Path::new(SYSTEM_ROOT);
        if system.is_dir() && is_writable(system) {
            return Ok(system.to_owned());
        }
        self.user_directory("XDG_DATA_HOME", ".local/share").ok_or(Error::NoStoreRoot)
    }

    /// Returns the configuration for fetching with a store: mirrors of `EVAL_MIRRORS`, then
    /// mirrors, proxies and certificates of the machine. Unfinished downloads are kept in
    /// `partial`.
    ///
    /// # Errors
    /// [`Error::Mirror`] when an entry of `EVAL_MIRRORS` is not of the form `name=url`.
    pub fn fetch_config(&self, partial: PathBuf, interrupts: &Interrupts) -> Result<FetchConfig, Error> {
        let mut config = self.machine_fetch_config(partial, interrupts);
        let mut mirrors = Vec::new();
        for entry in self.text("EVAL_MIRRORS").unwrap_or_default().split_whitespace() {
            let (name, url) = entry.split_once('=').ok_or_else(|| Error::Mirror(entry.to_owned()))?;
            mirrors.push((name.to_owned(), url.to_owned()));
        }
        mirrors.append(&mut config.mirrors);
        config.mirrors = mirrors;
        Ok(config)
    }

    /// Returns the configuration for fetching without a store.
    pub fn storeless_fetch_config(&self, interrupts: &Interrupts) -> FetchConfig {
        let partial = self.cache().unwrap_or_else(|| self.temporary_directory()).join("partial");
        FetchConfig { space_help: CACHE_REMEDY, ..self.machine_fetch_config(partial, interrupts) }
    }

    fn machine_fetch_config(&self, partial: PathBuf, interrupts: &Interrupts) -> FetchConfig {
        let config = FetchConfig::from_environment(self.variables.clone(), Path::new("/"), partial);
        FetchConfig { cancel: interrupts.requested.clone(), ..config }
    }
}

/// Returns whether this process can create files in a directory, by trying: permission bits do not
/// show read-only mounts.
fn is_writable(directory: &Path) -> bool {
    let probe = directory.join(format!(".probe-{}", std::process::id()));
    std::fs::create_dir(&probe).and_then(|()| std::fs::remove_dir(&probe)).is_ok()
}

/// Returns the system that builds run on, as derivations name it.
pub fn current_system() -> String {
    format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)
}

/// Returns nine tenths of the memory that is free on the machine and in the control groups of this
/// process; `None` where the kernel does not say.
pub fn free_memory_bytes() -> Option<usize> {
    usize::try_from(sandbox::memory::available_bytes()? / 10 * 9).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment::new(variables.iter().map(|(name, value)| (name.into(), value.into())))
    }

    #[test]
    fn directories_follow_from_the_variables() {
        let user = environment(&[("HOME", "/home/a"), ("XDG_CACHE_HOME", "relative")]);
        assert_eq!(user.cache(), Some("/home/a/.cache/eval".into()));
        let user = environment(&[("XDG_CACHE_HOME", "/c"), ("XDG_CACHE_HOME", "/second")]);
        assert_eq!(user.cache(), Some("/c/eval".into()));
        assert_eq!(user.home(), None);
        assert_eq!(user.user_directory("XDG_DATA_HOME", ".local/share"), None);
        assert_eq!(user.temporary_directory(), Path::new("/tmp"));
    }

    #[test]
    fn own_mirrors_come_first_and_must_have_a_name() {
        let interrupts = Interrupts::default();
        let config = environment(&[("EVAL_MIRRORS", "a=http://x b=http://y")]).fetch_config("/p".into(), &interrupts);
        let mirrors = config.expect("both have names").mirrors;
        assert_eq!(mirrors[..2], [("a".into(), "http://x".into()), ("b".into(), "http://y".into())]);
        let config = environment(&[("EVAL_MIRRORS", "http://x")]).fetch_config("/p".into(), &interrupts);
        assert!(matches!(config, Err(Error::Mirror(entry)) if entry == "http://x"));
    }
}
