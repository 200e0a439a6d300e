//! Shell text for visitors of a sandbox: the phases of a build as functions, out of the build's own
//! command.
//!
//! A builder is usually a shell with the whole build as text, `bash -c TEXT`, and announces its
//! phases by lines that print `@phase NAME`. The text up to the next such line is the phase. It
//! becomes the function `NAMEPhase`, which runs it as the build does: it stops at the first command
//! that fails, and directory and variables stay for the next. Before the first phase runs, the text
//! before the first such line is run, without its lines that would change the visitor's shell
//! (`set -e`, `exec </dev/null`).

use crate::derivation::BUILD_DIR;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// The shell functions of a build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildFunctions {
    /// Names of the phases' functions, in the order in which the build runs them.
    pub phases: Vec<String>,
    /// Text that defines them: for bash, which other shells of that kind understand as well.
    pub text: String,
}

impl BuildFunctions {
    /// The function that runs the whole build.
    pub const WHOLE: &str = "runBuild";

    /// Returns the functions of the build with this command.
    pub fn of(argv: &[OsString]) -> BuildFunctions {
        let words: Vec<String> = argv.iter().map(|word| quoted(word.as_bytes())).collect();
        let whole = Self::WHOLE;
        let mut text = format!("{whole}() {{ ( cd {BUILD_DIR} && exec {} ) </dev/null; }}\n", words.join(" "));
        let script = script_of(argv).and_then(|script| std::str::from_utf8(script).ok()).unwrap_or_default();
        let (preamble, parts) = split(script);
        if parts.is_empty() {
            return BuildFunctions { phases: Vec::new(), text };
        }
        text.push_str(&format!("__ev_preamble={}\n", quoted(preamble.as_bytes())));
        text.push_str(RUNNING);
        let mut phases: Vec<String> = Vec::new();
        for (name, part) in parts {
            let function = format!("{}Phase", identifier(name));
            text.push_str(&format!("{function}() {{ __ev_phase {}; }}\n", quoted(part.as_bytes())));
            if !phases.contains(&function) {
                phases.push(function);
            }
        }
        // The name by which most know it.
        if phases.iter().any(|name| name == "makePhase") && !phases.iter().any(|name| name == "buildPhase") {
            text.push_str("buildPhase() { makePhase; }\n");
        }
        BuildFunctions { phases, text }
    }
}

/// Functions that run a phase. `local -` gives the shell its options back. A command that fails
/// returns from its function, so up to the caller.
const RUNNING: &str = "\
__ev_phase() {
  if [ -z \"${BASH_VERSION-}\" ]; then
    if [ -n \"${__ev_preamble}\" ]; then eval \"$__ev_preamble\"; __ev_preamble=; fi
    eval \"$1\"
    return
  fi
  __ev_run \"$1\" </dev/null
  set -- \"$?\"
  trap - ERR
  return \"$1\"
}
__ev_run() {
  local -
  if [ -n \"$__ev_preamble\" ]; then eval \"$__ev_preamble\"; __ev_preamble=; fi
  set -E -o pipefail
  trap '{ __ev_status=$?; set +x; } 2>/dev/null; return \"$__ev_status\"' ERR
  eval \"set -x
$1\"
}
";

/// Returns the text of a shell that is started with `-c`.
fn script_of(argv: &[OsString]) -> Option<&[u8]> {
    let mut words = argv.iter();
    let builder = words.next()?.as_bytes();
    let name = builder.rsplit(|&byte| byte == b'/').next()?;
    if !matches!(name, b"bash" | b"sh" | b"dash" | b"ash") {
        return None;
    }
    while let Some(word) = words.next() {
        match word.as_bytes() {
            b"-o" | b"-O" | b"+o" | b"+O" => drop(words.next()),
            // Further flags may be in the same word, as in `-ec`.
            flags if flags.starts_with(b"-") && !flags.starts_with(b"--") && flags.contains(&b'c') => {
                return words.next().map(|text| text.as_bytes());
            }
            flags if flags.starts_with(b"-") || flags.starts_with(b"+") => {}
            _ => return None,
        }
    }
    None
}

/// Splits a script at the lines that announce phases: the text before the first, and the phases.
fn split(script: &str) -> (String, Vec<(&str, String)>) {
    let mut preamble = String::new();
    let mut phases: Vec<(&str, String)> = Vec::new();
    for line in script.lines() {
        if let Some(name) = announced(line) {
            phases.push((name, String::new()));
        } else {
            let part = phases.last_mut().map_or(&mut preamble, |(_, text)| text);
            part.push_str(line);
            part.push('\n');
        }
    }
    let own = |line: &&str| {
        let line = line.trim();
        line != "exec </dev/null" && (!line.starts_with("set -") || line.contains([';', '&', '|']))
    };
    let preamble = preamble.lines().filter(own).map(|line| format!("{line}\n")).collect();
    (preamble, phases)
}

/// Returns the name of the phase that a line announces.
fn announced(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("@phase ")?;
    let prints = ["echo ", "echo \"", "echo '", "printf '", "printf \""].iter().any(|end| before.ends_with(end));
    let name = after.split(['"', '\'', ';', '\\', ' ']).next()?;
    (prints && !name.is_empty() && !before.trim_start().starts_with('#')).then_some(name)
}

/// Returns a name as the start of a function's name: that of a package need not be one.
fn identifier(name: &str) -> String {
    let mut out: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    out
}

/// Returns a word that a shell reads as these bytes.
pub fn quoted(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%^".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn phases_become_functions() {
        let script = "set -eu -o pipefail\nexec </dev/null\nf() { :; }\n\
            { set +x; } 2>/dev/null; echo \"@phase unpack\"; set -x\ncp -a /source/src x\ncd x\n\n\
            { set +x; } 2>/dev/null; echo \"@phase make\"; set -x\nmake 'a b'\n";
        let (preamble, parts) = split(script);
        assert_eq!(preamble, "f() { :; }\n");
        assert_eq!(
            parts,
            [("unpack", "cp -a /source/src x\ncd x\n\n".to_owned()), ("make", "make 'a b'\n".to_owned())]
        );
        let functions = BuildFunctions::of(&words(&["/bin/bash", "-c", script]));
        assert_eq!(functions.phases, ["unpackPhase", "makePhase"]);
        assert!(functions.text.contains("\nunpackPhase() { __ev_phase 'cp -a /source/src x\ncd x\n\n'; }\n"));
        assert!(functions.text.contains(r"makePhase() { __ev_phase 'make '\''a b'\''"), "{}", functions.text);
        assert!(functions.text.ends_with("buildPhase() { makePhase; }\n"));
    }

    #[test]
    fn the_text_is_that_of_the_option_c() {
        for (argv, text) in [
            (&["/bin/sh", "-e", "-c", "x"][..], Some("x")),
            (&["/bin/bash", "-euxc", "x", "$0"], Some("x")),
            (&["/bin/bash", "-o", "pipefail", "--norc", "-c", "x"], Some("x")),
            (&["/bin/bash", "builder.sh", "-c"], None),
            (&["/bin/python3", "-c", "x"], None),
            (&["/bin/bash"], None),
        ] {
            let argv = words(argv);
            assert_eq!(script_of(&argv), text.map(str::as_bytes), "{argv:?}");
        }
    }

    #[test]
    fn a_build_without_phases_can_be_run_again() {
        let functions = BuildFunctions::of(&words(&["/bin/bash", "-e", "-c", "echo it's > $out"]));
        assert_eq!(functions.phases, [""; 0]);
        assert_eq!(
            functions.text,
            "runBuild() { ( cd /build && exec /bin/bash -e -c 'echo it'\\''s > $out' ) </dev/null; }\n"
        );
    }

    #[test]
    fn names_are_made_identifiers() {
        assert_eq!(identifier("ca-certificates"), "ca_certificates");
        assert_eq!(identifier("7z"), "_7z");
        assert_eq!(announced("  printf '@phase x\\n'"), Some("x"));
        assert_eq!(announced("# echo \"@phase x\""), None);
        assert_eq!(announced("grep '@phase x' log"), None);
    }
}
