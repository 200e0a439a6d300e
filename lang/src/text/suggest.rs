//! Names for "did you mean …?".

/// Returns the name closest to `wanted` when the difference is small enough to be a typing error.
pub fn suggest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (wanted.chars().count() / 3).clamp(1, 3);
    names
        .filter(|name| name.len().abs_diff(wanted.len()) <= limit)
        .map(|name| (edit_distance(wanted, name), name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name)
}

/// Returns the number of characters to insert, remove or replace (Levenshtein).
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &r) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(l != r);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_suggested() {
        for (wanted, suggestion) in
            [("zlip", Some("zlib")), ("zli", Some("zlib")), ("libz", None), ("grüsse", Some("grösse")), ("q", None)]
        {
            assert_eq!(suggest(wanted, ["zlib", "grösse", "openssl"].into_iter()), suggestion, "{wanted}");
        }
    }
}
