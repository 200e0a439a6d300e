//! The rules by which entries of an archive build a tree.

use super::*;
use crate::{Entry, EntryKind, Sink, TreeBuilder};
use std::io::Read;

type Step<'a> = (&'a str, EntryKind<'a>);

const DIRECTORY: EntryKind = EntryKind::Directory;
const FILE: EntryKind = EntryKind::File { size: 1 };

fn link(target: &str) -> EntryKind<'_> {
    EntryKind::Symlink { target: target.as_bytes() }
}

/// Builds a tree and lists its paths, links with their targets; or returns the error.
fn built(steps: &[Step]) -> Result<String, String> {
    let mut kept = 0;
    let mut builder = TreeBuilder::new(DEFAULTS, |_, contents: &mut dyn Read| {
        kept += 1;
        io::copy(contents, &mut io::sink()).map(|_| kept)
    });
    for (at, kind) in steps {
        let entry = Entry { path: &path(at), stat: &stat(0o700), kind: *kind };
        builder.entry(entry, &mut io::empty()).map_err(|error| error.to_string())?;
    }
    let mut lines = Vec::new();
    let walked: Result<(), std::convert::Infallible> = builder.finish().walk(&mut |entry, inode| {
        let end = match entry.kind {
            EntryKind::Directory => "/".to_owned(),
            EntryKind::Symlink { target } => format!(" -> {}", target.escape_ascii()),
            EntryKind::HardLink { target } => format!(" = {target}"),
            EntryKind::File { .. } => {
                let Content::File { blob, .. } = inode.unwrap().content else { unreachable!("it is a file") };
                format!(" #{blob}")
            }
            _ => "?".to_owned(),
        };
        lines.push(format!("{}{end}", entry.path.to_string().trim_start_matches('/')));
        Ok(())
    });
    let Ok(()) = walked;
    Ok(lines[1..].join(", "))
}

#[track_caller]
fn check(steps: &[Step], expected: &str) {
    assert_eq!(built(steps).unwrap_or_else(|error| error), expected);
}

#[test]
fn parents_are_made_and_later_entries_replace_earlier_ones() {
    check(&[("a/b/c", FILE)], "a/, a/b/, a/b/c #1");
    check(&[("a", FILE), ("a", link("x")), ("a", FILE)], "a #2");
    check(&[("a", DIRECTORY), ("a", FILE)], "a #1");
    check(&[("a", FILE), ("a", DIRECTORY)], "a/");
    check(&[("a/b", FILE), ("a", DIRECTORY)], "a/, a/b #1");
    check(&[("a/b", FILE), ("a", FILE)], "a directory with files in it has this name already");
    check(&[("a", FILE), ("a/b", FILE)], "its parent `a` is not a directory");
    check(&[("/", FILE)], "it has the name of the whole tree and is no directory");
}

#[test]
fn links_among_parents_stay_below_the_root() {
    check(
        &[("usr/lib", DIRECTORY), ("lib", link("usr/lib")), ("lib", DIRECTORY), ("lib/x", FILE)],
        "lib -> usr/lib, usr/, usr/lib/, usr/lib/x #1",
    );
    for target in ["..", "../..", "/", "/../.."] {
        check(&[("out", link(target)), ("out/x", FILE)], &format!("out -> {target}, x #1"));
    }
    check(
        &[("a/b/c", DIRECTORY), ("l", link("a/b/../b/./c")), ("l/d/x", FILE)],
        "a/, a/b/, a/b/c/, a/b/c/d/, a/b/c/d/x #1, l -> a/b/../b/./c",
    );
    check(&[("d", link("/nowhere")), ("d/x", FILE)], "its parent `d` leads through a symbolic link to nowhere");
    check(&[("d", link("d")), ("d/x", FILE)], "its parent `d` leads through a symbolic link that is not followed");
}

#[test]
fn hard_links_name_an_inode_that_is_there() {
    let (a, nothing) = (path("a"), path("l/b"));
    let to_a = EntryKind::HardLink { target: &a };
    check(&[("a", FILE), ("b", to_a), ("a", FILE)], "a #2, b #1");
    check(&[("a", FILE), ("b", to_a), ("c", to_a)], "a #1, b = /a, c = /a");
    check(&[("a", DIRECTORY), ("b", to_a)], "it is a hard link to `a`, which is not a file");
    check(
        &[("l", link("..")), ("b", EntryKind::HardLink { target: &nothing })],
        "it is a hard link to `l/b`, which is not in the tree",
    );
}

/// Each link adds the depth of its target, so the depth of names alone bounds nothing.
#[test]
fn depth_is_bounded_through_links() {
    let (deep, deeper) = ("d/".repeat(150), format!("l/{}", "e/".repeat(150)));
    let error = built(&[(&deep, DIRECTORY), ("l", link(&deep)), (&deeper, DIRECTORY)]).unwrap_err();
    assert_eq!(error, "it is nested deeper than the 256 directories a tree may have");
}

#[test]
fn metadata_that_no_file_system_has_is_refused() {
    let mut builder = TreeBuilder::new(DEFAULTS, |_, _: &mut dyn Read| Ok(()));
    let wrong = Stat { mode: 0o100_644, ..stat(0) };
    let entry = Entry { path: &path("a"), stat: &wrong, kind: FILE };
    let error = builder.entry(entry, &mut io::empty()).unwrap_err();
    assert_eq!(error.to_string(), "the mode 0o100644 has bits that are not permissions");
}
