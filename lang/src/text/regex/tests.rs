use super::*;

fn show(text: &str, groups: &Groups) -> String {
    let shown: Vec<String> =
        groups.iter().map(|group| group.clone().map_or("null".into(), |range| format!("{:?}", &text[range]))).collect();
    format!("[{}]", shown.join(" "))
}

/// Returns the result of `builtins.match`.
fn whole(pattern: &str, text: &str) -> String {
    match Regex::new(pattern.as_bytes()) {
        Ok(regex) => regex.match_whole(text.as_bytes()).unwrap().map_or("null".into(), |groups| show(text, &groups)),
        Err(error) => format!("error: {error}"),
    }
}

/// Returns the result of `builtins.split`.
fn split(pattern: &str, text: &str) -> String {
    let regex = Regex::new(pattern.as_bytes()).unwrap();
    let mut shown = Vec::new();
    let mut last = 0;
    for found in regex.matches(text.as_bytes()) {
        let found = found.unwrap();
        shown.push(format!("{:?}", &text[last..found.range.start]));
        shown.push(show(text, &found.groups));
        last = found.range.end;
    }
    shown.push(format!("{:?}", &text[last..]));
    shown.join(" ")
}

#[test]
fn whole_texts() {
    let cases = [
        ("(a|ab)(c|bcd)(d*)", "abcd", r#"["a" "bcd" ""]"#),
        ("((a)|(b))*", "ab", r#"["b" "a" "b"]"#),
        ("(a*)(ab)*(b*)", "abb", r#"["a" null "bb"]"#),
        ("(a*)*", "", r#"[""]"#),
        ("(a*)*", "b", "null"),
        ("(a|b*)*", "b", r#"[""]"#),
        ("(a*)+", "aa", r#"[""]"#),
        ("(a?)*", "aa", r#"[""]"#),
        ("(a)(b)?", "a", r#"["a" null]"#),
        ("a{2,3}", "aaaa", "null"),
        ("a{2,3}", "aaa", "[]"),
        ("a{2,}", "aaaa", "[]"),
        ("x{1000}", &"x".repeat(1000), "[]"),
        ("a||b", "", "[]"),
        (".", "\n", "[]"),
        (".", "é", "null"),
        ("..", "é", "[]"),
        ("[^]a]", "]", "null"),
        ("[]a]", "]", "[]"),
        ("[a\\]b]", "\\b]", "[]"),
        ("[%--]", "-", "[]"),
        ("[[:space:]-]", "-", "[]"),
        ("[[:alpha:]]+", "aB", "[]"),
        ("[[.space.]]", " ", "[]"),
        ("a$b", "ab", "null"),
        ("^a$", "a", "[]"),
        ("([0-9]+)\\.([0-9]+)(.*)", "1.22pre", r#"["1" "22" "pre"]"#),
        ("[[:space:]]*(.*[^[:space:]])[[:space:]]*", "  a b ", r#"["a b"]"#),
    ];
    for (pattern, text, groups) in cases {
        assert_eq!(whole(pattern, text), groups, "{pattern} {text}");
    }
}

#[test]
fn splitting() {
    let cases = [
        ("(a|ab)", "xabx", r#""x" ["ab"] "x""#),
        ("(x*)", "axxb", r#""" [""] "a" ["xx"] "" [""] "b" [""] """#),
        ("a*(ab)?", "aab", r#""" [null] "" [null] "b" [null] """#),
        ("(a*)(ab)*(b*)", "abb", r#""" ["a" null "bb"] "" ["" null ""] """#),
        ("((a)|b)*", "ab", r#""" ["b" "a"] "" [null null] """#),
        ("(a|ab)(bc|c)?", "abc", r#""" ["a" "bc"] """#),
        ("b*|a", "ab", r#""" [] "" [] "" [] """#),
        ("^a", "aaa", r#""" [] "aa""#),
        ("^|a", "aba", r#""" [] "b" [] """#),
        ("a$", "aa", r#""a" [] """#),
        ("", "ab", r#""" [] "a" [] "b" [] """#),
        ("()", "", r#""" [""] """#),
        ("x", "abc", r#""abc""#),
        ("[,;] *", "a, b;c", r#""a" [] "b" [] "c""#),
    ];
    for (pattern, text, pieces) in cases {
        assert_eq!(split(pattern, text), pieces, "{pattern} {text}");
    }
}

#[test]
fn mistakes() {
    let cases = [
        ("*a", "nothing to repeat at byte 0"),
        ("^*", "nothing to repeat at byte 1"),
        ("a|*b", "nothing to repeat at byte 2"),
        ("(*)", "nothing to repeat at byte 1"),
        ("(", "`(` without a `)` at byte 0"),
        ("a)", "`)` without a `(` at byte 1"),
        ("[a", "`[` without a `]` at byte 0"),
        ("[z-a]", "the ends of the range are the wrong way round at byte 4"),
        ("[a-z-9]", "`-` after something that is no character at byte 5"),
        ("[[:foo:]]", "unknown class at byte 8"),
        ("\\w", "only the characters .[\\()*+?{|^$ can be escaped at byte 1"),
        ("\\", "`\\` at the end at byte 1"),
        ("a{", "expected a count at byte 2"),
        ("a{,3}", "expected a count at byte 2"),
        ("a{3,2}", "the counts in `{…}` are the wrong way round at byte 5"),
        ("(a{1000}){1000}", "expression is too large at byte 0"),
    ];
    for (pattern, message) in cases {
        assert_eq!(whole(pattern, ""), format!("error: {message}"), "{pattern}");
    }
}

#[test]
fn hard_cases_end() {
    let text = "a".repeat(2000);
    assert_eq!(whole("(a|a)*b", &text), "null");
    assert_eq!(whole("(a*)*b", &text), "null");
    assert_eq!(whole("(a*a*a*a*)*b", &text), "null");
    assert_eq!(split("(a|aa)+b", &text), format!("{text:?}"));
    let long = "ab".repeat(200_000);
    assert_eq!(whole("(a|b)*", &long), r#"["b"]"#);
    assert_eq!(whole(".*b", &long), "[]");
}

#[test]
fn memory_has_a_limit() {
    let text = "abc".repeat(1_000_000);
    let regex = |pattern: &str| Regex::new(pattern.as_bytes()).unwrap();
    // The stack of a long walk, and the memory of one that backtracks often.
    assert_eq!(regex("((a|b)|c)*d").match_whole(text.as_bytes()), Err(TooMuchMemory));
    assert!(regex("((a|b)|c)*d").matches(text.as_bytes()).any(|found| found == Err(TooMuchMemory)));
    let turning = regex("(a?){1000}(a?){1000}(a?){1000}b");
    assert_eq!(turning.match_whole("a".repeat(30_000).as_bytes()), Err(TooMuchMemory));
}

/// Returns the results of `split` and `match` when failures are memoised from the step `steps_free`
/// on.
fn found(regex: &Regex, text: &[u8], steps_free: usize) -> (Vec<Match>, Option<Groups>) {
    let run = || {
        let mut run = run::Run::new(&regex.program, text);
        run.set_steps_free(steps_free);
        run
    };
    let matches = Matches { run: run(), last: None, first: true, length: text.len() };
    (matches.map(Result::unwrap).collect(), run().whole().unwrap())
}

/// Returns the number of steps that splitting a text without a match takes.
fn steps(pattern: &str, text: &str) -> usize {
    let regex = Regex::new(pattern.as_bytes()).unwrap();
    let mut matches = regex.matches(text.as_bytes());
    assert_eq!(matches.next(), None, "{pattern}");
    matches.run.steps()
}

#[test]
fn a_text_twice_as_long_takes_twice_the_steps() {
    let patterns = ["(x+x+)+y", "x+y", "x*x*x*y", "(x|xx)+y", "(.*x)+y", "(x*)*y", "[a-z]+[0-9]", "(x+)(x+)(x+)1|x+y"];
    for pattern in patterns {
        let (once, twice) = (steps(pattern, &"x".repeat(2_000)), steps(pattern, &"x".repeat(4_000)));
        assert!(twice < 3 * once, "{pattern}: {once}, {twice}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(500))]

    /// Memoising makes a walk shorter and changes no match.
    #[test]
    fn memoising_changes_no_match(
        pattern in "(([abx]|[.]|\\[ab\\]|\\(([ax][+*?]?){1,3}(\\|[bx][+*?]?){0,2}\\))([+*?]|[{][12],3[}])?){1,5}",
        text in "[abx]{0,7}",
    ) {
        if let Ok(regex) = Regex::new(pattern.as_bytes()) {
            let text = text.as_bytes();
            proptest::prop_assert_eq!(found(&regex, text, 0), found(&regex, text, usize::MAX), "{}", pattern);
        }
    }
}
