//! Paths as text. Nothing here looks at a file system.

/// Makes an absolute path canonical: no `.`, `..`, doubled or trailing slashes. `..` at the root stays at the root.
pub(crate) fn normalise(path: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(path.len());
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => out.truncate(memchr::memrchr(b'/', &out).unwrap_or(0)),
            _ => {
                out.push(b'/');
                out.extend_from_slice(part);
            }
        }
    }
    if out.is_empty() {
        out.push(b'/');
    }
    out
}

/// The last component; like Nix's `baseNameOf` it ignores one trailing slash.
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

/// Everything before the last component.
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
