//! The Debian mirrors this machine already uses: the base URIs in apt's own sources.
//!
//! Both formats of `sources.list(5)` are read, one line an entry and deb822. Kept are http, https
//! and file URIs whose path ends in `/debian`, which is the main archive and neither its security
//! twin nor a foreign repository; every file fetched from them is checked against a pinned hash, so
//! keys and suites do not matter.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the base URIs, without a slash at the end, in the order apt reads them, each once.
pub(super) fn debian_mirrors(root: &Path) -> Vec<String> {
    let etc = root.join("etc/apt");
    let mut files = vec![etc.join("sources.list")];
    let mut parts: Vec<PathBuf> = fs::read_dir(etc.join("sources.list.d"))
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
        .unwrap_or_default();
    parts.sort();
    files.extend(parts);

    let mut mirrors = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let uris = match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => one_line_uris(&text),
            Some("sources") => deb822_uris(&text),
            _ => continue,
        };
        for uri in uris {
            let base = uri.trim_end_matches('/');
            let scheme_known = ["http://", "https://", "file:/"].iter().any(|scheme| base.starts_with(scheme));
            if scheme_known && base.ends_with("/debian") && !mirrors.iter().any(|known| known == base) {
                mirrors.push(base.to_owned());
            }
        }
    }
    mirrors
}

/// Reads `deb [options] URI suite component…`, a line an entry.
fn one_line_uris(text: &str) -> Vec<String> {
    let mut uris = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(rest) = line.strip_prefix("deb-src").or_else(|| line.strip_prefix("deb")) else { continue };
        if !rest.starts_with([' ', '\t', '[']) {
            continue;
        }
        let rest = rest.trim_start();
        let rest = match rest.strip_prefix('[') {
            Some(options) => options.split_once(']').map_or("", |(_, after)| after),
            None => rest,
        };
        uris.extend(rest.split_whitespace().next().map(str::to_owned));
    }
    uris
}

/// Reads stanzas of `Field: value` with `URIs:`, skipping those with `Enabled: no`.
fn deb822_uris(text: &str) -> Vec<String> {
    let mut uris = Vec::new();
    let mut stanza: Vec<String> = Vec::new();
    let mut enabled = true;
    let mut in_uris = false;
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            if enabled {
                uris.append(&mut stanza);
            }
            stanza.clear();
            (enabled, in_uris) = (true, false);
        } else if line.starts_with([' ', '\t']) {
            if in_uris {
                stanza.extend(line.split_whitespace().map(str::to_owned));
            }
        } else if let Some((field, value)) = line.split_once(':') {
            in_uris = field.eq_ignore_ascii_case("uris");
            if in_uris {
                stanza.extend(value.split_whitespace().map(str::to_owned));
            } else if field.eq_ignore_ascii_case("enabled") {
                enabled = !["no", "false", "0", "off", "without", "disable"].contains(&value.trim());
            }
        }
    }
    uris
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_entries() {
        let text = "# deb http://commented.example/debian x main\n\
                    deb http://a.example/debian bookworm main\n\
                    deb-src [arch=amd64 signed-by=/k] https://b.example/debian/ bookworm main # why\n\
                    debx http://c.example/debian x\n";
        assert_eq!(one_line_uris(text), ["http://a.example/debian", "https://b.example/debian/"]);
    }

    #[test]
    fn deb822_entries() {
        let text = "Types: deb\nURIs: http://a.example/debian\n https://b.example/debian\n# comment\nSuites: x\n\n\
                    Types: deb\nEnabled: no\nURIs: http://off.example/debian\n\n\
                    uris: http://c.example/debian\n";
        assert_eq!(
            deb822_uris(text),
            ["http://a.example/debian", "https://b.example/debian", "http://c.example/debian"]
        );
    }

    #[test]
    fn machine() {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc/apt/sources.list.d");
        fs::create_dir_all(&etc).unwrap();
        fs::write(root.path().join("etc/apt/sources.list"), "deb http://a.example/debian x main\n").unwrap();
        fs::write(
            etc.join("z.sources"),
            "URIs: http://a.example/debian/ http://a.example/debian-security\n\nURIs: cdrom:/debian https://b.example/pub/debian\n",
        )
        .unwrap();
        fs::write(etc.join("y.list.save"), "deb http://old.example/debian x main\n").unwrap();
        assert_eq!(debian_mirrors(root.path()), ["http://a.example/debian", "https://b.example/pub/debian"]);
    }
}
