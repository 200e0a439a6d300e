//! `store add`: a path that its contents name.

use crate::workspace::Workspace;
use insta::assert_snapshot;

#[test]
fn equal_contents_are_one_path() {
    let workspace = Workspace::with_own_store("");
    workspace.write("directory/a", "a\n");
    workspace.write("other/directory/a", "a\n");
    assert_snapshot!(workspace.check("store add directory"), @r#"
    status: 0
    --- stdout
    [STORE]/store/[HASH]-directory
    "#);
    assert_eq!(workspace.stdout("store add directory"), workspace.stdout("store add other/directory"));
    workspace.write("other/directory/a", "b\n");
    assert_ne!(workspace.stdout("store add directory"), workspace.stdout("store add other/directory"));
    assert_snapshot!(workspace.check("store add directory/a --name renamed"), @r#"
    status: 0
    --- stdout
    [STORE]/store/[HASH]-renamed
    "#);
}

#[test]
fn unsupported_paths_are_refused() {
    let workspace = Workspace::with_own_store("");
    workspace.write("a file", "");
    assert_snapshot!(workspace.check("store add nothing-here"), @r#"
    status: 1
    --- stderr
    error: cannot find `nothing-here`: No such file or directory (ENOENT)
    "#);
    assert_snapshot!(workspace.text(&workspace.run(["store", "add", "a file"])), @r#"
    status: 1
    --- stderr
    error: the name `a file` holds ' '; the name of a store path is made of letters, digits and `+-._?=`
     |
     = help: choose a name with `--name`
    "#);
    assert_snapshot!(workspace.check("store add /dev/null --name null"), @r#"
    status: 1
    --- stderr
    error[store::special_file]: `/dev/null` is a character device; a store holds only regular files, directories and symbolic links
    "#);
}
