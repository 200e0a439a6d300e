//! Sizes and numbers of options, in one notation for all of them.

/// Parses a size such as `500M` or `4G`; a number alone is bytes.
///
/// # Errors
/// When the text is not a size.
pub fn parse(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 10),
        Some((at, 'm' | 'M')) => (&text[..at], 20),
        Some((at, 'g' | 'G')) => (&text[..at], 30),
        Some((at, 't' | 'T')) => (&text[..at], 40),
        _ => (text, 0),
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.parse::<u64>().ok().filter(|_| is_number);
    let size = number.and_then(|number| number.checked_mul(1 << shift));
    size.ok_or_else(|| "not a size: a number of bytes, or one with `K`, `M`, `G` or `T`, such as `4G`".to_owned())
}

/// Smallest limit on the memory of a build that is no mistake.
const BUILD_MEMORY_MIN: u64 = 1 << 20;

/// Parses the limit on the memory of a build; 0 is no limit.
///
/// # Errors
/// When the text is not a size, or one that no build can run in.
pub fn build_memory(text: &str) -> Result<u64, String> {
    match parse(text)? {
        bytes @ 1..BUILD_MEMORY_MIN => {
            Err(format!("no build runs in {bytes} bytes; did you mean `{}M`?", text.trim_end_matches(['k', 'K'])))
        }
        bytes => Ok(bytes),
    }
}

/// Parses the number of builds at a time; `auto` is 0, one per core.
///
/// # Errors
/// When the text is neither a number of at least 1 nor `auto`.
pub fn jobs(text: &str) -> Result<usize, String> {
    match (text, text.parse::<usize>()) {
        ("auto", _) => Ok(0),
        (_, Ok(0)) => Err("with 0 nothing can be built; `--dry-run` prints what would be".to_owned()),
        (_, Ok(count)) => Ok(count),
        (_, Err(cause)) => Err(format!("{cause}; a number, or `auto` for one per core")),
    }
}

#[cfg(test)]
mod tests {
    use super::{build_memory, jobs, parse};

    #[test]
    fn sizes_have_one_notation() {
        for (text, size) in
            [("0", 0), ("4096", 4096), ("3k", 3072), ("500M", 524_288_000), ("4G", 4 << 30), ("2t", 2 << 40)]
        {
            assert_eq!(parse(text), Ok(size), "{text}");
        }
        for text in ["", "G", "4GB", "-1", "+1", "4.5G", "99999999999T", "4 G"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(build_memory("4096").unwrap_err(), "no build runs in 4096 bytes; did you mean `4096M`?");
        assert_eq!((build_memory("0"), build_memory("4G")), (Ok(0), Ok(4 << 30)));
        assert_eq!((jobs("auto"), jobs("3")), (Ok(0), Ok(3)));
        assert!(jobs("0").unwrap_err().contains("--dry-run"));
        assert!(jobs("many").unwrap_err().contains("`auto`"));
    }
}
