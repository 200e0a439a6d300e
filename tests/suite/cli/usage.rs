//! Wrong usage: exit status 2, and a correct form.

use crate::workspace::Workspace;
use insta::assert_snapshot;

#[track_caller]
fn check(words: &str) -> String {
    Workspace::with_own_store("1").check(words)
}

#[test]
fn unknown_command() {
    assert_snapshot!(check("biuld"), @r#"
    status: 2
    --- stderr
    error: unrecognized subcommand 'biuld'

      tip: a similar subcommand exists: 'build'

    Usage: ev [OPTIONS] <COMMAND>

    For more information, try '--help'.
    "#);
}

#[test]
fn unknown_flag() {
    assert_snapshot!(check("build --keep-goin"), @r#"
    status: 2
    --- stderr
    error: unexpected argument '--keep-goin' found

      tip: a similar argument exists: '--keep-going'

    Usage: ev build [OPTIONS] [INSTALLABLE]...

    For more information, try '--help'.
    "#);
}

#[test]
fn attribute_without_a_file() {
    assert_snapshot!(check("build -A x"), @r#"
    status: 2
    --- stderr
    error: `-A` takes attributes of a file or an expression
     |
     = help: give one with `-f FILE` or `--expr EXPRESSION`
    "#);
}

#[test]
fn no_number() {
    assert_snapshot!(check("build -j many"), @r#"
    status: 2
    --- stderr
    error: invalid value 'many' for '--jobs <N>': invalid digit found in string; a number, or `auto` for one per core

    For more information, try '--help'.
    "#);
}

#[test]
fn no_flake_here() {
    let workspace = Workspace::with_own_store("1");
    // the end of the search, wherever the tests run
    workspace.write(".git/HEAD", "");
    assert_snapshot!(workspace.check("build .#x"), @r#"
    status: 1
    --- stderr
    error[installable]: cannot find a `flake.nix` in `[DIR]` or a directory above it
    "#);
}

#[test]
fn file_that_is_not_there() {
    assert_snapshot!(check("build -f nothing.nix"), @r#"
    status: 1
    --- stderr
    error[lang::no_such_file]: path '[DIR]/nothing.nix' does not exist
    "#);
}
