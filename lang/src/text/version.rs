//! Versions and package names, split as Nix does: `splitVersion`, `compareVersions`,
//! `parseDrvName`.

use std::cmp::Ordering;

/// Returns the components of a version: runs of digits and runs of other bytes, without `.` and `-`
/// between them.
pub fn components(version: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = version;
    std::iter::from_fn(move || {
        let start = rest.iter().position(|&byte| !is_separator(byte))?;
        rest = &rest[start..];
        let digits = rest[0].is_ascii_digit();
        let part_of =
            |&byte: &u8| if digits { byte.is_ascii_digit() } else { !byte.is_ascii_digit() && !is_separator(byte) };
        let length = rest.iter().position(|byte| !part_of(byte)).unwrap_or(rest.len());
        let (component, after) = rest.split_at(length);
        rest = after;
        Some(component)
    })
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b'.' | b'-')
}

/// Compares two versions: numbers by value, `pre` before everything, nothing before a number, words
/// before numbers.
pub fn compare(left: &[u8], right: &[u8]) -> Ordering {
    let (mut left, mut right) = (components(left), components(right));
    loop {
        let (one, other) = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (one, other) => (one.unwrap_or_default(), other.unwrap_or_default()),
        };
        if is_less(one, other) {
            return Ordering::Less;
        }
        if is_less(other, one) {
            return Ordering::Greater;
        }
    }
}

fn is_less(one: &[u8], other: &[u8]) -> bool {
    match (number(one), number(other)) {
        (Some(one), Some(other)) => one < other,
        (_, Some(_)) if one.is_empty() => true,
        _ if one == b"pre" && other != b"pre" => true,
        _ if other == b"pre" => false,
        // `2.3a` is before `2.3.1`.
        (_, Some(_)) => true,
        (Some(_), _) => false,
        _ => one < other,
    }
}

/// Parses a component as Nix's 32-bit number; longer ones compare as words.
fn number(component: &[u8]) -> Option<i32> {
    str::from_utf8(component).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

/// Splits `name-version` before the first dash that no letter follows; the version may be empty.
pub fn parse_drv_name(name: &[u8]) -> (&[u8], &[u8]) {
    let dash = name.windows(2).position(|pair| pair[0] == b'-' && !pair[1].is_ascii_alphabetic());
    match dash {
        Some(dash) => (&name[..dash], &name[dash + 1..]),
        None => (name, b""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn split(version: &str) -> String {
        components(version.as_bytes()).map(|part| str::from_utf8(part).unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn versions_split() {
        assert_eq!(split("1.2.3"), "1 2 3");
        assert_eq!(split("2.3pre1-rc"), "2 3 pre 1 rc");
        assert_eq!(split("..--"), "");
        assert_eq!(split("a1b_2"), "a 1 b_ 2");
    }

    #[test]
    fn versions_compare() {
        let cases = [
            ("1.0", "2.3", Ordering::Less),
            ("2.1", "2.3", Ordering::Less),
            ("2.3", "2.3", Ordering::Equal),
            ("2.5", "2.3", Ordering::Greater),
            ("3.1", "2.3", Ordering::Greater),
            ("2.3.1", "2.3", Ordering::Greater),
            ("2.3.1", "2.3a", Ordering::Greater),
            ("2.3pre1", "2.3", Ordering::Less),
            ("2.3pre3", "2.3pre12", Ordering::Less),
            ("2.3a", "2.3c", Ordering::Less),
            ("2.3pre1", "2.3c", Ordering::Less),
            ("2.3pre1", "2.3q", Ordering::Less),
            ("007", "7", Ordering::Equal),
            ("9999999999", "1", Ordering::Less),
        ];
        for (left, right, order) in cases {
            assert_eq!(compare(left.as_bytes(), right.as_bytes()), order, "{left} {right}");
        }
    }

    #[test]
    fn names_split() {
        let split = |name: &'static str| parse_drv_name(name.as_bytes());
        assert_eq!(split("nix-0.12pre12876"), (&b"nix"[..], &b"0.12pre12876"[..]));
        assert_eq!(split("a-b-c-1234pre5+git"), (&b"a-b-c"[..], &b"1234pre5+git"[..]));
        assert_eq!(split("a-b"), (&b"a-b"[..], &b""[..]));
        assert_eq!(split("a-"), (&b"a-"[..], &b""[..]));
        assert_eq!(split("a--1"), (&b"a"[..], &b"-1"[..]));
    }

    proptest! {
        #[test]
        fn comparing_is_antisymmetric(left in "[0-9a-c.p-]{0,8}", right in "[0-9a-c.p-]{0,8}") {
            prop_assert_eq!(compare(left.as_bytes(), right.as_bytes()), compare(right.as_bytes(), left.as_bytes()).reverse());
        }
    }
}
