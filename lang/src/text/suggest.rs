//! Names for "did you mean …?".

use strsim::osa_distance;

/// Returns the name closest to `wanted` when the difference is small enough to be a typing error:
/// characters that are inserted, removed, replaced, or exchanged with their neighbours. A name of
/// one character resembles none.
pub fn suggest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = match wanted.chars().count() {
        0 | 1 => return None,
        count => (count / 3).clamp(1, 3),
    };
    names
        .filter(|name| name.len().abs_diff(wanted.len()) <= limit * char::MAX.len_utf8())
        .map(|name| (osa_distance(wanted, name), name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_suggested() {
        for (wanted, suggestion) in [
            ("zlip", Some("zlib")),
            ("zli", Some("zlib")),
            ("zlbi", Some("zlib")),
            ("zilb", Some("zlib")),
            ("libz", None),
            ("grüsse", Some("grösse")),
            ("vv", Some("v")),
            ("opnessl", Some("openssl")),
            ("q", None),
        ] {
            assert_eq!(suggest(wanted, ["zlib", "grösse", "openssl", "v"].into_iter()), suggestion, "{wanted}");
        }
    }
}
