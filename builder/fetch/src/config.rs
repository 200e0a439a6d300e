//! Mirrors, proxies, certificates, timeouts and retries: the settings of a
//! [`Fetcher`](super::Fetcher).
//!
//! Nothing here reads the process environment: the root crate passes the variables in, and the
//! directory that stands for `/`, so that a test can show a whole machine. Building a configuration
//! touches a handful of small files; certificates are only read when the first https connection is
//! made.

use super::apt;
use super::netrc::Netrc;
use super::proxy::ProxyRules;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Paths of the bundles of trusted certificates in distributions, most common first.
const SYSTEM_BUNDLES: [&str; 6] = [
    "etc/ssl/certs/ca-certificates.crt",
    "etc/pki/tls/certs/ca-bundle.crt",
    "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "etc/ssl/ca-bundle.pem",
    "etc/ssl/cert.pem",
    "usr/share/ca-certificates/ca-bundle.crt",
];

/// Variables that name one file of certificates, first wins.
const BUNDLE_VARIABLES: [&str; 3] = ["SSL_CERT_FILE", "NIX_SSL_CERT_FILE", "CURL_CA_BUNDLE"];

/// The settings of a [`Fetcher`](super::Fetcher).
#[derive(Clone, Debug)]
pub struct FetchConfig {
    /// `(name, base URL)` of `mirror://name/path`, in the order to try. One name may come several
    /// times.
    pub mirrors: Vec<(String, String)>,
    /// The longest time for name resolution and connecting together.
    pub connect_timeout: Duration,
    /// The longest silence of a server, before its answer or in the middle of it.
    pub idle_timeout: Duration,
    /// Number of retries of one URL after an error that may pass; the count starts again whenever
    /// bytes arrive.
    pub retries: u32,
    /// The wait before the first retry; it doubles each time, up to eight seconds.
    pub backoff: Duration,
    /// Number of transfers at the same time; further ones wait.
    pub parallel: usize,
    /// Number of redirects that one request follows.
    pub redirects_max: u32,
    /// The largest file accepted, in bytes.
    pub size_max_bytes: u64,
    /// The proxy of each request.
    pub proxies: ProxyRules,
    /// Files of PEM certificates to trust. Empty, with [`ca_directories`](Self::ca_directories)
    /// empty: the compiled-in Mozilla roots.
    pub ca_files: Vec<PathBuf>,
    /// Directories whose files are PEM certificates to trust.
    pub ca_directories: Vec<PathBuf>,
    /// User names and passwords by host.
    pub netrc: Netrc,
    /// Use no network: only local files are fetched.
    pub offline: bool,
    /// Directory in which unfinished downloads wait to be continued, even by another process.
    pub partial_dir: PathBuf,
    /// The help of an error when the file system of [`partial_dir`](Self::partial_dir) is full.
    pub space_help: &'static str,
    /// Set to `true`, by a signal handler for example, to end every transfer at once.
    pub cancel: Arc<AtomicBool>,
}

impl FetchConfig {
    /// Returns the settings of a machine without configuration: no mirrors, no proxies, the
    /// compiled-in roots.
    pub fn new(partial_dir: impl Into<PathBuf>) -> Self {
        Self {
            mirrors: Vec::new(),
            connect_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(60),
            retries: 3,
            backoff: Duration::from_millis(300),
            parallel: 12,
            redirects_max: 8,
            size_max_bytes: 16 << 30,
            proxies: ProxyRules::default(),
            ca_files: Vec::new(),
            ca_directories: Vec::new(),
            netrc: Netrc::default(),
            offline: false,
            partial_dir: partial_dir.into(),
            space_help: os::space::STORE_FULL,
            cancel: Arc::default(),
        }
    }

    /// Reads the settings of this machine from the environment variables given and the files below
    /// `root`, which is `/` except in tests.
    ///
    /// Read are `http_proxy`, `https_proxy`, `all_proxy`, `no_proxy` and their capitals (but not
    /// `HTTP_PROXY` inside a CGI, where a client sets it), `SSL_CERT_FILE`, `NIX_SSL_CERT_FILE`,
    /// `CURL_CA_BUNDLE`, `SSL_CERT_DIR`, `NETRC`, the system's certificate bundle, and apt's
    /// sources for `mirror://debian/`. Files that are absent or unreadable count as not there: a
    /// machine without apt is not an error.
    pub fn from_environment(
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        root: &Path,
        partial_dir: impl Into<PathBuf>,
    ) -> Self {
        let environment: BTreeMap<String, String> = environment
            .into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let mut config = Self::new(partial_dir);
        config.proxies = ProxyRules::from_environment(&environment);
        config.mirrors = apt::debian_mirrors(root).into_iter().map(|base| ("debian".to_owned(), base)).collect();

        if let Some(bundle) = BUNDLE_VARIABLES.iter().find_map(|name| environment.get(*name)) {
            config.ca_files.push(PathBuf::from(bundle));
        }
        // The directory usually repeats the bundle, certificate by certificate: it counts only when
        // it is all there is.
        if config.ca_files.is_empty()
            && let Some(directories) = environment.get("SSL_CERT_DIR")
        {
            config.ca_directories = directories.split(':').filter(|part| !part.is_empty()).map(PathBuf::from).collect();
        }
        if config.ca_files.is_empty() && config.ca_directories.is_empty() {
            config.ca_files.extend(SYSTEM_BUNDLES.iter().map(|bundle| root.join(bundle)).find(|path| path.is_file()));
        }

        let netrc = environment
            .get("NETRC")
            .map(PathBuf::from)
            .or_else(|| environment.get("HOME").map(|home| Path::new(home).join(".netrc")));
        if let Some(text) = netrc.and_then(|path| fs::read_to_string(path).ok()) {
            config.netrc = Netrc::parse(&text);
        }
        config
    }
}
