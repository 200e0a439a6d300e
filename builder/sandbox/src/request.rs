//! A [`Request`]: everything one sandboxed build needs, with nothing left to look up.
//!
//! It is plain data and crosses two processes: the scheduler fills it in, this crate hands it to
//! its child as JSON. Invariant: all host paths are absolute, as the child resolves them from a
//! different working directory. The caller fills the paths and removes them afterwards.

use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One build, ready to run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// Host directories whose union is the root, bottom to top. May be empty: the root then holds
    /// mount points only.
    #[serde(with = "wire::paths")]
    pub root_layers: Vec<PathBuf>,
    /// Store paths and sources to be seen beside the root.
    pub binds: Vec<Bind>,
    /// Host directory of most of them, the store: these are shown through one file system, and each
    /// other one through one of its own.
    #[serde(default, with = "wire::optional_path")]
    pub store: Option<PathBuf>,
    /// The directory of the builder's outputs.
    pub outputs: OutputPlace,
    /// Host directory seen as `/build`, writable.
    #[serde(with = "wire::path")]
    pub build_dir: PathBuf,
    /// The builder and its arguments; the first is a path inside the sandbox, never searched for in
    /// `PATH`.
    #[serde(with = "wire::strings")]
    pub argv: Vec<OsString>,
    /// The whole environment, except for `EVAL_CORES` and `NIX_BUILD_CORES`, and `MAKEFLAGS` with a
    /// [`Jobserver`], which the sandbox adds where missing.
    #[serde(with = "wire::pairs")]
    pub env: Vec<(OsString, OsString)>,
    /// Directory inside the sandbox in which the builder starts, usually `/build`.
    #[serde(with = "wire::path")]
    pub working_dir: PathBuf,
    /// The system the build is for, such as `x86_64-linux`; another than this machine's is an
    /// error.
    pub system: String,
    /// Number of cores that the build may use, as its environment says.
    pub cores: u32,
    /// The source of job tokens for more processes, if it wants any.
    #[serde(default)]
    pub jobserver: Option<Jobserver>,
    /// Limits that end the build early.
    pub limits: Limits,
    /// Says whether steps that this kernel lacks are errors.
    pub mode: SandboxMode,
}

/// A file, directory or symbolic link of the host that the build sees.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bind {
    /// The host's path. A symbolic link is not followed but made again inside.
    #[serde(with = "wire::path")]
    pub host: PathBuf,
    /// Absolute path at which it is seen.
    #[serde(with = "wire::path")]
    pub inside: PathBuf,
    /// Set when the build may change it. False for everything from the store.
    pub writable: bool,
}

impl Bind {
    /// Returns a bind that the build can read and not change.
    pub fn read_only(host: impl Into<PathBuf>, inside: impl Into<PathBuf>) -> Bind {
        Bind { host: host.into(), inside: inside.into(), writable: false }
    }
}

/// The directory in which the builder creates its outputs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum OutputPlace {
    /// `host_dir`, initially empty, is seen as `/output`; the builder makes `/output/out` and so
    /// on, of any file type.
    Rooted {
        /// The directory that receives the outputs.
        #[serde(with = "wire::path")]
        host_dir: PathBuf,
    },
    /// `host_dir`, initially empty, is seen as the store directory; the inputs are bound in it, so
    /// that after the build it also holds an empty mount point for each of them.
    InStore {
        /// The directory that receives the outputs.
        #[serde(with = "wire::path")]
        host_dir: PathBuf,
        /// The directory's path inside, `/eval/store`.
        #[serde(with = "wire::path")]
        store_dir: PathBuf,
    },
}

impl OutputPlace {
    /// Returns the host directory that is written to.
    pub fn host_dir(&self) -> &Path {
        match self {
            OutputPlace::Rooted { host_dir } | OutputPlace::InStore { host_dir, .. } => host_dir,
        }
    }

    /// Returns the path of that directory inside the sandbox.
    pub fn inside(&self) -> &Path {
        match self {
            OutputPlace::Rooted { .. } => Path::new("/output"),
            OutputPlace::InStore { store_dir, .. } => store_dir,
        }
    }
}

/// A FIFO with tokens for processes that a build runs beside its first one, by the protocol of GNU
/// make.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Jobserver {
    /// The FIFO on the host, seen as `/dev/jobserver`.
    #[serde(with = "wire::path")]
    pub fifo: PathBuf,
    /// The FIFO's form in the variable `MAKEFLAGS`.
    pub form: JobserverForm,
    /// The most processes that the build can run at a time.
    pub jobs: u32,
}

impl Jobserver {
    /// The FIFO's path inside.
    pub const PATH: &str = "/dev/jobserver";
    /// The FIFO's name in `/dev`.
    pub(crate) const NAME: &str = "jobserver";
    /// Open descriptors of the FIFO, to read from and to write to, that a build has in the form
    /// [`JobserverForm::Descriptors`]: numbers that scripts do not use for their own.
    pub const DESCRIPTORS: [i32; 2] = [198, 199];

    /// Returns the value of `MAKEFLAGS`.
    pub fn make_flags(&self) -> String {
        let jobs = self.jobs;
        match self.form {
            JobserverForm::Fifo => format!("-j{jobs} --jobserver-auth=fifo:{}", Self::PATH),
            JobserverForm::Descriptors => {
                let [read, write] = Self::DESCRIPTORS;
                format!("-j{jobs} --jobserver-auth={read},{write}")
            }
        }
    }
}

/// The form in which a build's programs find the tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobserverForm {
    /// The path of the FIFO: GNU make 4.4, ninja 1.13.
    Fifo,
    /// Two open descriptors: any GNU make.
    Descriptors,
}

/// Limits that end a build early; `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Wall time of the whole build.
    pub timeout: Option<Duration>,
    /// Wall time without a byte of output.
    pub max_silent: Option<Duration>,
    /// Bytes of output.
    pub max_log_bytes: Option<u64>,
    /// Bytes of memory: of all processes together where a control group can be made, else of each
    /// process.
    pub memory_max_bytes: Option<u64>,
    /// Processes and threads at a time.
    pub processes_max: Option<u64>,
    /// Set by the sandbox when a control group counts them.
    #[serde(default)]
    pub processes_counted: bool,
    /// Bytes that stay free on the file system of the build directory: a build is ended when there
    /// are fewer.
    pub disk_reserve_bytes: Option<u64>,
    /// Steps by which the build's priority is below the caller's, 0 to 19.
    pub niceness: u8,
}

/// The treatment of parts of the sandbox that the kernel lacks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SandboxMode {
    /// Every part must be there.
    #[default]
    Strict,
    /// Landlock, seccomp, the time namespace and the inputs' own inodes may be missing;
    /// [`crate::Outcome::skipped`] lists them.
    Relaxed,
}

/// A command: a program's path inside the sandbox, and its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Words(#[serde(with = "wire::strings")] pub Vec<OsString>);

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    pub rows: u16,
    pub columns: u16,
}

impl WindowSize {
    /// Returns the size of a terminal; `None` of a file that is none.
    pub fn of(terminal: impl AsFd) -> Option<WindowSize> {
        crate::sys::window_size(terminal.as_fd()).ok()
    }
}

/// Bytes of the operating system as JSON strings, one character a byte: exact for names that are no
/// UTF-8, and short for all others.
mod wire {
    use super::OsString;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer};
    use std::ffi::OsStr;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};

    fn encode(text: &OsStr) -> String {
        text.as_bytes().iter().map(|&byte| char::from(byte)).collect()
    }

    fn decode<E: Error>(text: &str) -> Result<OsString, E> {
        let bytes: Result<Vec<u8>, _> = text.chars().map(u8::try_from).collect();
        bytes.map(OsString::from_vec).map_err(|_| E::custom("a character beyond U+00FF in a byte string"))
    }

    fn decode_all<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<OsString>, D::Error> {
        Vec::<String>::deserialize(from)?.iter().map(|text| decode(text)).collect()
    }

    pub mod path {
        use serde::{Deserialize, Deserializer, Serializer};
        use std::path::{Path, PathBuf};

        pub fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
            to.serialize_str(&super::encode(path.as_os_str()))
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
            super::decode(&String::deserialize(from)?).map(PathBuf::from)
        }
    }

    pub mod optional_path {
        use serde::{Deserialize, Deserializer, Serialize, Serializer};
        use std::path::PathBuf;

        pub fn serialize<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
            path.as_ref().map(|path| super::encode(path.as_os_str())).serialize(to)
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
            Option::<String>::deserialize(from)?.map(|text| super::decode(&text).map(PathBuf::from)).transpose()
        }
    }

    pub mod paths {
        use serde::{Deserializer, Serializer};
        use std::path::PathBuf;

        pub fn serialize<S: Serializer>(paths: &[PathBuf], to: S) -> Result<S::Ok, S::Error> {
            to.collect_seq(paths.iter().map(|path| super::encode(path.as_os_str())))
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<PathBuf>, D::Error> {
            Ok(super::decode_all(from)?.into_iter().map(PathBuf::from).collect())
        }
    }

    pub mod strings {
        use serde::{Deserializer, Serializer};
        use std::ffi::OsString;

        pub fn serialize<S: Serializer>(strings: &[OsString], to: S) -> Result<S::Ok, S::Error> {
            to.collect_seq(strings.iter().map(|string| super::encode(string)))
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<OsString>, D::Error> {
            super::decode_all(from)
        }
    }

    pub mod pairs {
        use serde::{Deserialize, Deserializer, Serializer};
        use std::ffi::OsString;

        pub fn serialize<S: Serializer>(pairs: &[(OsString, OsString)], to: S) -> Result<S::Ok, S::Error> {
            to.collect_seq(pairs.iter().map(|(name, value)| (super::encode(name), super::encode(value))))
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(OsString, OsString)>, D::Error> {
            let pairs = Vec::<(String, String)>::deserialize(from)?;
            pairs.iter().map(|(name, value)| Ok((super::decode(name)?, super::decode(value)?))).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn names_that_are_no_utf8_survive_the_wire() {
        let odd = OsString::from_vec(vec![b'/', 0xff, b'"', b'\n', 0xc3, 0x28]);
        let request = Request {
            root_layers: vec![odd.clone().into()],
            binds: vec![Bind::read_only(odd.clone(), odd.clone())],
            store: Some(odd.clone().into()),
            outputs: OutputPlace::Rooted { host_dir: odd.clone().into() },
            build_dir: odd.clone().into(),
            argv: vec![odd.clone()],
            env: vec![(OsString::from("A"), odd.clone())],
            working_dir: odd.clone().into(),
            system: "x86_64-linux".into(),
            cores: 2,
            jobserver: None,
            limits: Limits { timeout: Some(Duration::from_millis(1500)), ..Limits::default() },
            mode: SandboxMode::Strict,
        };
        let json = serde_json::to_string(&request).expect("byte strings are characters");
        let back: Request = serde_json::from_str(&json).expect("what was written can be read");
        assert_eq!(back.root_layers, request.root_layers);
        assert_eq!(back.argv, request.argv);
        assert_eq!(back.env, request.env);
        assert_eq!(back.binds[0].inside, PathBuf::from(&odd));
        assert_eq!(back.store, request.store);
        assert_eq!(back.limits, request.limits);
    }
}
