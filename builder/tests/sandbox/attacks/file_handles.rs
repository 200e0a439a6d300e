//! A build opens files by their names only: handles would lead around its root to any file of the
//! file system.

use crate::scene::{shell, syscall};

#[test]
fn cannot_be_opened() {
    // The root of many file systems is inode 2.
    let handle = r#"0, my $a = pack("LlQ", 8, 1, 2), 0"#;
    assert_eq!(syscall(libc::SYS_open_by_handle_at, handle), "EPERM");
}

/// As the C library's `getcwd` and `realpath` do, from one directory up to the next.
#[test]
fn are_not_needed_to_find_ones_way() {
    assert_eq!(shell("mkdir -p a/b; cd a/b; pwd -P; realpath ../b/.."), "/build/a/b\n/build/a\n");
}
