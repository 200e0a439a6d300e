//! Names for "did you mean …?".

use strsim::{levenshtein, osa_distance};

/// Names similar to one that is missing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Suggestions {
    /// Those that were probably meant: the closest, as [`suggest`] finds one.
    pub likely: Vec<String>,
    /// Those that Nix lists, the closest first: up to two characters are inserted, removed or
    /// replaced.
    pub near: Vec<String>,
}

impl Suggestions {
    const NEAR_DISTANCE_MAX: usize = 2;
    const NEAR_MAX: usize = 5;
    const LIKELY_MAX: usize = 3;

    pub fn new<'a>(wanted: &str, names: impl Iterator<Item = &'a str> + Clone) -> Suggestions {
        let mut near: Vec<(usize, &str)> = within(Self::NEAR_DISTANCE_MAX, wanted, names.clone())
            .map(|name| (levenshtein(wanted, name), name))
            .filter(|(distance, _)| *distance <= Self::NEAR_DISTANCE_MAX)
            .collect();
        near.sort_unstable();
        near.dedup();
        let mut likely: Vec<(usize, &str)> = typing_errors(wanted, names).collect();
        likely.sort_unstable();
        likely.dedup();
        let least = likely.first().map_or(0, |(distance, _)| *distance);
        likely.retain(|(distance, _)| *distance == least);
        let first =
            |names: Vec<(usize, &str)>, count| names.iter().take(count).map(|(_, name)| (*name).into()).collect();
        Suggestions { likely: first(likely, Self::LIKELY_MAX), near: first(near, Self::NEAR_MAX) }
    }
}

/// Returns the name closest to `wanted` when the difference is small enough to be a typing error:
/// characters that are inserted, removed, replaced, or exchanged with their neighbours. A name of
/// one character resembles none.
pub fn suggest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    typing_errors(wanted, names).min().map(|(_, name)| name)
}

/// Returns the names that may be meant, with their differences.
fn typing_errors<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> impl Iterator<Item = (usize, &'a str)> {
    let limit = match wanted.chars().count() {
        0 | 1 => 0,
        count => (count / 3).clamp(1, 3),
    };
    within(limit, wanted, names)
        .map(move |name| (osa_distance(wanted, name), name))
        .filter(move |(distance, _)| *distance <= limit)
}

/// Returns the names whose lengths allow a distance, without comparing more.
fn within<'a>(distance: usize, wanted: &str, names: impl Iterator<Item = &'a str>) -> impl Iterator<Item = &'a str> {
    names.filter(move |name| name.len().abs_diff(wanted.len()) <= distance * char::MAX.len_utf8())
}

/// Joins names as in `a, b or c`.
pub fn alternatives(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [name] => name.clone(),
        [names @ .., last] => format!("{} or {last}", names.join(", ")),
    }
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

    #[test]
    fn several_names_are_as_close() {
        let new = |wanted, names: &[&str]| {
            let Suggestions { likely, near } = Suggestions::new(wanted, names.iter().copied());
            (alternatives(&likely), alternatives(&near))
        };
        let text = |likely: &str, near: &str| (likely.to_owned(), near.to_owned());
        assert_eq!(new("packag", &["packages", "package", "packagess"]), text("package", "package or packages"));
        assert_eq!(new("abz", &["abc", "abd", "xbc"]), text("abc or abd", "abc, abd or xbc"));
        assert_eq!(new("x", &["a", "bb", "ccc"]), text("", "a or bb"));
        assert_eq!(new("abcdefghi", &["abcdefxyz"]), text("abcdefxyz", ""));
    }
}
