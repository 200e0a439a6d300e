//! Paths as text, without access to a file system.

/// Makes an absolute path canonical: no `.`, `..`, doubled or trailing slashes. `..` at the root
/// stays at the root.
pub(crate) fn normalise(path: &[u8]) -> Vec<u8> {
    append(Vec::with_capacity(path.len()), path)
}

/// Returns the path `relative` to the canonical directory `base`, in canonical form.
pub(crate) fn join(base: &[u8], relative: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(base.len() + 1 + relative.len());
    if base != b"/" {
        out.extend_from_slice(base);
    }
    append(out, relative)
}

/// Returns `path`, absolute or relative to `base`, as a canonical path.
pub(crate) fn resolve(path: &[u8], base: &[u8]) -> Vec<u8> {
    if path.starts_with(b"/") { normalise(path) } else { append(normalise(base), path) }
}

/// Appends `path` to `out`, which is a canonical path, or empty for the root.
fn append(mut out: Vec<u8>, mut path: &[u8]) -> Vec<u8> {
    while !path.is_empty() {
        let end = memchr::memchr(b'/', path).unwrap_or(path.len());
        match &path[..end] {
            b"" | b"." => {}
            b".." => out.truncate(memchr::memrchr(b'/', &out).unwrap_or(0)),
            part => {
                out.push(b'/');
                out.extend_from_slice(part);
            }
        }
        path = path.get(end + 1..).unwrap_or_default();
    }
    if out.is_empty() {
        out.push(b'/');
    }
    out
}

/// Returns the last component; like Nix's `baseNameOf` it ignores one trailing slash.
pub(crate) fn base_name(path: &[u8]) -> &[u8] {
    let trimmed = match path {
        [rest @ .., b'/'] if !rest.is_empty() => rest,
        _ => path,
    };
    match memchr::memrchr(b'/', trimmed) {
        Some(at) => &trimmed[at + 1..],
        None => trimmed,
    }
}

/// Returns the path before the last component.
pub(crate) fn dir_name(path: &[u8]) -> &[u8] {
    match memchr::memrchr(b'/', path) {
        None => b".",
        Some(0) => b"/",
        Some(at) => &path[..at],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_forms() {
        let check = |path: &str| String::from_utf8(normalise(path.as_bytes())).expect("made of UTF-8");
        assert_eq!(check("/a/./b//../c/"), "/a/c");
        assert_eq!(check("/../.."), "/");
        assert_eq!(check("/a/b/../../c"), "/c");
        assert_eq!(join(b"/a/b", b"../c/./d/"), b"/a/c/d");
        assert_eq!(join(b"/a", b"../.."), b"/");
        assert_eq!(join(b"/", b"a"), b"/a");
    }

    #[test]
    fn parts() {
        assert_eq!(base_name(b"/a/b/"), b"b");
        assert_eq!(base_name(b"a"), b"a");
        assert_eq!(base_name(b"/"), b"");
        assert_eq!(dir_name(b"/a/b"), b"/a");
        assert_eq!(dir_name(b"/a"), b"/");
        assert_eq!(dir_name(b"a"), b".");
    }
}
