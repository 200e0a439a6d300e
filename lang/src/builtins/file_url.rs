//! `file:` URLs and the paths of this machine that they mean (RFC 8089).
//!
//! All fetchers, restricted evaluation and hosts share this module, so the path that is checked is
//! the path that is read. A host other than this machine is an error: dropping its name would turn
//! the rest into another path.

use crate::error::{Error, Result};
use crate::host::FetchKind;
use std::path::PathBuf;

/// Makes the error for an invalid URL.
fn invalid(message: String) -> Error {
    Error::other("lang::file_url", message)
        .help("a file of this machine is `file://` and its absolute path, as in `file:///srv/x`")
}

/// Returns the part of a URL after `file:`; `None` for other schemes.
fn after_scheme(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once(':')?;
    scheme.eq_ignore_ascii_case("file").then_some(rest)
}

/// Splits the rest of a `file:` URL into host and path, both still encoded.
fn parts(rest: &str) -> (&str, &str) {
    match rest.strip_prefix("//") {
        Some(named) => named.split_at(named.find('/').unwrap_or(named.len())),
        None => ("", rest),
    }
}

/// Refuses `file:` URLs that name another machine or no absolute path.
///
/// Fetchers of files and archives accept `localhost`, as curl does; references to flakes and
/// repositories do not, as in Nix.
pub(super) fn check(url: &str, kind: FetchKind) -> Result<()> {
    let Some(rest) = after_scheme(url) else { return Ok(()) };
    let (host, path) = parts(rest);
    let is_named = matches!(kind, FetchKind::File | FetchKind::Tarball) && host.eq_ignore_ascii_case("localhost");
    if !host.is_empty() && !is_named {
        return Err(invalid(format!("file:// URL '{url}' has unexpected authority '{host}'")));
    }
    if !path.starts_with('/') {
        return Err(invalid(format!("file: URL '{url}' names no absolute path")));
    }
    Ok(())
}

/// Returns the path of this machine that a `file:` URL means; `None` for other URLs. A path is
/// returned as it is.
pub fn local_file(url: &str) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let bytes = if url.starts_with('/') {
        url.as_bytes().to_vec()
    } else {
        let (host, path) = parts(after_scheme(url)?);
        if !(host.is_empty() || host.eq_ignore_ascii_case("localhost")) || !path.starts_with('/') {
            return None;
        }
        percent_encoding::percent_decode_str(path.split(['?', '#']).next().unwrap_or_default()).collect()
    };
    Some(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_means_one_path() {
        let shown = |url: &str| local_file(url).map(|path| path.display().to_string());
        for (url, path) in [
            ("/a b", Some("/a b")),
            ("/a%20b", Some("/a%20b")),
            ("file:///a%20b?x#y", Some("/a b")),
            ("file:/a", Some("/a")),
            ("FILE:///a", Some("/a")),
            ("file://localhost/a", Some("/a")),
            ("file:////a", Some("//a")),
            ("file://etc/passwd", None),
            ("file://localhost", None),
            ("file://localhosts/a", None),
            ("file:a", None),
            ("file:", None),
            ("file://", None),
            ("https://example.org/a", None),
            ("a", None),
        ] {
            assert_eq!(shown(url).as_deref(), path, "{url}");
        }
    }

    #[test]
    fn other_hosts_and_relative_paths_are_refused() {
        let said = |url: &str, kind| check(url, kind).err().map(|error| error.to_string());
        for kind in [FetchKind::File, FetchKind::Tarball, FetchKind::Git, FetchKind::Tree] {
            assert_eq!(said("file:///a", kind), None);
            assert_eq!(said("file:/a", kind), None);
            assert_eq!(said("https://example.org/a", kind), None);
            for url in ["file://etc/passwd", "file://127.0.0.1/a", "file://.", "file://user@/a", "FILE://etc/x"] {
                let text = said(url, kind).unwrap_or_default();
                assert!(text.contains("unexpected authority"), "{url}: {text}");
            }
            for url in ["file:a", "file:", "file://", "file:./a"] {
                let text = said(url, kind).unwrap_or_default();
                assert!(text.contains("no absolute path"), "{url}: {text}");
            }
            let is_named = matches!(kind, FetchKind::File | FetchKind::Tarball);
            assert_eq!(said("file://localhost/a", kind).is_none(), is_named);
        }
    }
}
