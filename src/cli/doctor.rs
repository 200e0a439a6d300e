//! `doctor`: compares what builds need with this machine, and prints remedies.

use super::Global;
use crate::interrupt::interrupts;
use crate::print::say;
use crate::progress::bytes;
use crate::report::Failure;
use clap::Args;
use sandbox::Feature;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::Duration;

/// Version of the JSON that `--json` prints.
const JSON_VERSION: u32 = 1;

/// Free space below which few packages can be built.
const SPACE_MIN: u64 = 2 << 30;

/// Free memory below which compilers are killed.
const MEMORY_MIN: u64 = 1 << 30;

/// Longest wait for a mirror.
const NETWORK_TIME_MAX: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
pub struct Doctor {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Do not try to reach the mirrors
    #[arg(long)]
    pub no_network: bool,
}

impl Doctor {
    pub fn run(self, global: &Global) -> Result<(), Failure> {
        let store = global.store_settings()?.root;
        let mut features = sandbox::probe();
        features.push(store_feature(&store));
        features.push(space_feature(&store));
        features.push(memory_feature());
        features.push(names_feature());
        if !self.no_network {
            features.extend(mirror_features(global, &store)?);
        }
        let missing: Vec<&str> =
            features.iter().filter(|feature| feature.required && !feature.ok).map(|feature| feature.name).collect();
        if self.json {
            let features: Vec<serde_json::Value> = features
                .iter()
                .map(|feature| {
                    serde_json::json!({
                        "name": feature.name,
                        "ok": feature.ok,
                        "required": feature.required,
                        "level": feature.level,
                        "remedy": feature.remedy,
                    })
                })
                .collect();
            let ok = missing.is_empty();
            let report = serde_json::json!({ "version": JSON_VERSION, "ok": ok, "store": store, "features": features });
            say!("{report:#}")?;
        } else {
            let width = features.iter().map(|feature| feature.name.len()).max().unwrap_or(0);
            for feature in &features {
                let mark = match (feature.ok, feature.required) {
                    (true, _) => "ok     ",
                    (false, true) => "MISSING",
                    (false, false) => "without",
                };
                say!("{mark}  {:width$}  {}", feature.name, feature.level)?;
                if let Some(remedy) = &feature.remedy {
                    say!("         {:width$}  to do: {remedy}", "")?;
                }
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(Failure::new(format!("builds cannot run here: {}", missing.join(", ")))
            .help("each line above names a remedy"))
    }
}

/// Makes an entry; the remedy is that of one that is not enough.
fn feature(name: &'static str, required: bool, ok: bool, level: String, remedy: &str) -> Feature {
    Feature { name, level, ok, required, remedy: (!ok).then(|| remedy.to_owned()) }
}

/// Opens the store as a build would, and leaves nothing behind where there was none.
fn store_feature(root: &Path) -> Feature {
    let existing = root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let (problem, state) = if root.join("store").is_dir() {
        let opened = store::LocalStore::open(root).and_then(|store| store.lock_shared().map(drop));
        (opened.err().map(|error| error.to_string()), "")
    } else if existing.is_dir() {
        let probe = existing.join(format!(".probe-{}", std::process::id()));
        let tried = std::fs::create_dir(&probe).and_then(|()| std::fs::remove_dir(&probe));
        (
            tried.err().map(|cause| format!("cannot write to `{}`: {cause}", existing.display())),
            ", which is not made yet",
        )
    } else {
        (Some(format!("`{}` is not a directory", existing.display())), "")
    };
    let level = match &problem {
        Some(problem) => format!("{}: {problem}", root.display()),
        None => format!("{}{state}", root.display()),
    };
    let remedy = "set `EVAL_ROOT` to a directory that you can write to";
    feature("store", true, problem.is_none(), level, remedy)
}

fn space_feature(root: &Path) -> Feature {
    let existing = root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let remedy = "free some with `ev gc`, or choose another disk with `EVAL_ROOT`";
    match os::space::free_bytes_at(existing) {
        Some(free) => feature("free space", false, free >= SPACE_MIN, bytes(free), remedy),
        None => feature("free space", false, true, "unknown".to_owned(), remedy),
    }
}

fn memory_feature() -> Feature {
    let remedy = "end other programs, or limit builds with `--jobs` and `--max-memory`";
    match sandbox::memory::available_bytes() {
        Some(free) => feature("free memory", false, free >= MEMORY_MIN, bytes(free), remedy),
        None => feature("free memory", false, true, "unknown".to_owned(), remedy),
    }
}

/// Compares the names on the PATH with this program.
fn names_feature() -> Feature {
    let own = std::env::current_exe().and_then(|path| path.canonicalize()).ok();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let find = |name: &str| -> Option<PathBuf> {
        let candidates = std::env::split_paths(&path).map(|directory| directory.join(name));
        candidates.into_iter().find(|candidate| {
            candidate.metadata().is_ok_and(|meta| meta.is_file() && os::mode::is_executable(meta.permissions().mode()))
        })
    };
    let mut parts = Vec::new();
    let mut all = true;
    for name in ["ev", "build", "eval"] {
        let found = find(name);
        let ours = found.as_ref().is_some_and(|found| found.canonicalize().ok() == own);
        all &= ours;
        match found {
            Some(_) if ours => parts.push(format!("`{name}`")),
            Some(found) => parts.push(format!("`{name}` is another program, `{}`", found.display())),
            None => parts.push(format!("`{name}` is not on the PATH")),
        }
    }
    let remedy = "`ev self install --to DIR` installs them, with a directory of the PATH";
    feature("names on the PATH", false, all, parts.join(", "), remedy)
}

/// Tries to connect to each mirror, or to its proxy.
fn mirror_features(global: &Global, root: &Path) -> Result<Vec<Feature>, Failure> {
    let environment = global.environment();
    let mirrors = environment.fetch_config(root.join("tmp").join("partial"), interrupts())?.mirrors;
    let mut features: Vec<Feature> = Vec::new();
    let mut seen = Vec::new();
    let (sender, answers) = channel();
    for (name, url) in mirrors {
        let (https, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => continue,
        };
        let variables = if https { ["https_proxy", "HTTPS_PROXY"] } else { ["http_proxy", "HTTP_PROXY"] };
        let proxy = variables.into_iter().find_map(|name| environment.text(name)).filter(|text| !text.is_empty());
        let (place, port, by) = match proxy {
            Some(proxy) => (proxy.split_once("://").map_or(proxy, |(_, rest)| rest), 3128, " by the proxy"),
            None => (rest, if https { 443 } else { 80 }, ""),
        };
        let place = place.split('/').next().unwrap_or_default().rsplit('@').next().unwrap_or_default();
        let address = if has_port(place) { place.to_owned() } else { format!("{place}:{port}") };
        if seen.contains(&address) {
            continue;
        }
        seen.push(address.clone());
        let (sender, level) = (sender.clone(), format!("{name}: {url}{by}"));
        std::thread::spawn(move || {
            let _ = sender.send((level, reach(&address)));
        });
    }
    drop(sender);
    let mut reached = Vec::new();
    let mut failed = Vec::new();
    let count = seen.len();
    let end = std::time::Instant::now() + NETWORK_TIME_MAX;
    for _ in 0..count {
        match answers.recv_timeout(end.saturating_duration_since(std::time::Instant::now())) {
            Ok((level, Ok(()))) => reached.push(level),
            Ok((level, Err(cause))) => failed.push(format!("{level}: {cause}")),
            Err(_) => {
                failed.push("no answer".to_owned());
                break;
            }
        }
    }
    reached.sort();
    failed.sort();
    let remedy = "check the network and `http_proxy`, or name another mirror with `EVAL_MIRRORS`";
    if count > 0 {
        let ok = failed.is_empty();
        reached.extend(failed);
        features.push(feature("mirrors", false, ok, reached.join("; "), remedy));
    }
    Ok(features)
}

/// Returns true when a host ends in a port. An address of IPv6 is in brackets.
fn has_port(place: &str) -> bool {
    let end = place.rsplit_once(']').map_or(place, |(_, end)| end);
    end.contains(':')
}

fn reach(address: &str) -> Result<(), String> {
    let mut last = "the name has no address".to_owned();
    for address in address.to_socket_addrs().map_err(|cause| cause.to_string())? {
        match TcpStream::connect_timeout(&address, NETWORK_TIME_MAX) {
            Ok(_) => return Ok(()),
            Err(cause) => last = cause.to_string(),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::{has_port, reach, space_feature, store_feature};
    use std::net::TcpListener;
    use std::path::Path;

    #[test]
    fn a_store_that_cannot_be_made_is_missing() {
        let found = store_feature(Path::new("/proc/nope"));
        assert!(found.required && !found.ok, "{}", found.level);
        assert!(found.remedy.is_some_and(|remedy| remedy.contains("EVAL_ROOT")));
        let directory = std::env::temp_dir().join(format!("doctor-{}", std::process::id()));
        let found = store_feature(&directory);
        assert!(found.ok && found.level.contains("not made yet"), "{}", found.level);
        assert!(!directory.exists());
        assert!(space_feature(&directory).level != "unknown");
    }

    #[test]
    fn mirrors_are_reached_or_not() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a loopback");
        let address = listener.local_addr().expect("it is bound").to_string();
        assert_eq!(reach(&address), Ok(()));
        drop(listener);
        assert!(reach(&address).is_err());
        assert!(has_port("host:80") && has_port("[::1]:80") && !has_port("[::1]") && !has_port("host"));
    }
}
