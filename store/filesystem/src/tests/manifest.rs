//! The text of manifests.

use super::*;
use crate::{Manifest, ManifestError};
use model::tree::MemoryDirectories;
use proptest::prelude::*;

#[test]
fn the_text_of_the_example() {
    let (_, manifest) = example().file_system.to_tree(&MemoryDirectories::new(), &DEFAULTS).unwrap();
    insta::assert_snapshot!(manifest, @r"
    eval-manifest 1
    /dev/initctl fifo
    /dev/null char=1:3 mode=0666
    /dev/sda block=8:0 mode=0660
    /etc mode=1777
    /etc/shadow mode=0640 gid=42 mtime=-1.5
    /usr/bin/ping mode=4755 uid=4000000000 gid=3000000 xattr.security.capability=\01\00\00\02\0a\0a\3d xattr.user.note=text
    /usr/bin.d/again link=/usr/bin/ping
    ");
    assert_eq!(manifest.to_string().parse(), Ok(manifest));
}

#[test]
fn texts_that_are_no_manifest() {
    let refused = |text: &str| text.parse::<Manifest>().unwrap_err().to_string();
    for text in ["", "eval-manifest 1", "eval-manifest 2\n", "eval-manifest 10\n", "/ mode=0755\n"] {
        assert_eq!(text.parse::<Manifest>(), Err(ManifestError::Header), "{text}");
    }
    assert_eq!("eval-manifest 1\n".parse(), Ok(Manifest::new()));
    assert_eq!("eval-manifest 1\n/ mode=0755".parse::<Manifest>(), Err(ManifestError::Truncated));
    let cases = [
        ("", "the path does not start with `/`"),
        ("a mode=0755", "the path does not start with `/`"),
        ("/a", "the entry for `/a` is empty"),
        ("/ fifo", "the root is a directory"),
        ("/a/../b mode=0755", "the path is not valid: its path contains `..`"),
        ("//a mode=0755", "the path is not valid: its path is absolute"),
        ("/a\\00 mode=0755", "the path is not valid: its path contains a zero byte"),
        ("/a/ mode=0755", "it is not in canonical form, which is `/a mode=0755`"),
        ("/a/./b mode=0755", "it is not in canonical form, which is `/a/b mode=0755`"),
        ("/a\\2fb mode=0755", "it is not in canonical form, which is `/a/b mode=0755`"),
        ("/a\\7A mode=0755", "it is not in canonical form, which is `/az mode=0755`"),
        ("/a\\2 mode=0755", "`/a\\2` is not a field, or its value is not valid"),
        ("/ä mode=0755", "it is not in canonical form, which is `/\\c3\\a4 mode=0755`"),
        ("/a mode=755", "it is not in canonical form, which is `/a mode=0755`"),
        ("/a mode=10000", "`mode=10000` is not a field, or its value is not valid"),
        ("/a mode=0x1", "`mode=0x1` is not a field, or its value is not valid"),
        ("/a uid=4294967296", "`uid=4294967296` is not a field, or its value is not valid"),
        ("/a uid=-1", "`uid=-1` is not a field, or its value is not valid"),
        ("/a uid=01", "it is not in canonical form, which is `/a uid=1`"),
        ("/a gid=1 uid=1", "it is not in canonical form, which is `/a uid=1 gid=1`"),
        ("/a uid=1 uid=1", "it is not in canonical form, which is `/a uid=1`"),
        ("/a uid=1  gid=1", "`` is not a field, or its value is not valid"),
        ("/a mtime=1.0", "it is not in canonical form, which is `/a mtime=1`"),
        ("/a mtime=1.0000000001", "it is not in canonical form, which is `/a mtime=1`"),
        ("/a mtime=-0", "it is not in canonical form, which is `/a mtime=0`"),
        ("/a mtime=9223372036854775808", "`mtime=9223372036854775808` is not a field, or its value is not valid"),
        ("/a owner=1", "`owner=1` is not a field, or its value is not valid"),
        ("/a xattr.=x", "`xattr.` is not a field, or its value is not valid"),
        ("/a char=1", "`char=1` is not a field, or its value is not valid"),
        ("/a fifo=", "it is not in canonical form, which is `/a fifo`"),
        ("/a fifo socket", "it is not in canonical form, which is `/a socket`"),
        ("/b link=/b", "`link=/b` is not a field, or its value is not valid"),
        ("/b link=/a mode=0644", "a hard link has the metadata of `/a` and no other"),
    ];
    for (line, reason) in cases {
        assert_eq!(refused(&format!("eval-manifest 1\n{line}\n")), format!("line 2 of the manifest: {reason}"));
    }
    for [first, second] in [["/b", "/a"], ["/a", "/a"], ["/a.b", "/a/b"]] {
        let text = format!("eval-manifest 1\n{first} uid=1\n{second} uid=1\n");
        assert!(refused(&text).starts_with("line 3 of the manifest: the path does not come after"), "{text}");
    }
}

#[test]
fn sizes_are_bounded() {
    let parsed = |line: String| format!("eval-manifest 1\n{line}\n").parse::<Manifest>();
    assert!(parsed(format!("/{} uid=1", "n".repeat(255))).is_ok());
    assert!(parsed(format!("/{} uid=1", "n".repeat(256))).is_err());
    assert!(parsed(format!("/n{} uid=1", "/n".repeat(199))).is_ok());
    assert!(parsed(format!("/n{} uid=1", "/n".repeat(200))).is_err());
    assert!(parsed(format!("/a xattr.a={}", "x".repeat(64 << 10))).is_ok());
    assert!(parsed(format!("/a xattr.a={}", "x".repeat((64 << 10) + 1))).is_err());
    let error = parsed(format!("/a {}", "x".repeat(1 << 20))).unwrap_err().to_string();
    assert!(error.len() < 300, "the message has the whole line");
}

#[test]
fn times_print_as_decimal_seconds() {
    for text in ["0", "1", "-1", "1.5", "-1.5", "-0.000000001", "9223372036854775807", "-9223372036854775808"] {
        assert_eq!(text.parse::<Time>().unwrap().to_string(), text);
    }
    assert_eq!("-1.5".parse(), Ok(Time { seconds: -2, nanoseconds: 500_000_000 }));
    assert_eq!("12.".parse(), Ok(Time::of_seconds(12)));
    for text in ["", "-", ".5", "1e3", "--1", "+1", "1.5.5", " 1", "1.x", "99999999999999999999"] {
        assert!(text.parse::<Time>().is_err(), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_manifest_reads_as_it_prints(file_system in random::file_system()) {
        let (_, manifest) = file_system.to_tree(&MemoryDirectories::new(), &DEFAULTS).unwrap();
        prop_assert_eq!(manifest.to_string().parse::<Manifest>(), Ok(manifest));
    }

    /// A text that is read has no other form.
    #[test]
    fn a_text_prints_as_it_reads(lines in proptest::collection::vec(
        "/[ab/.\\\\]{0,3}( (mode=0?[0-7]{3,5}|uid=[0-9]{1,2}|mtime=-?[01](\\.[05]{1,2})?|fifo|link=/[ab]|xattr\\.[ab]=[a=]{0,2}|[ -~]{0,6})){0,3}",
        0..3,
    )) {
        let text = format!("eval-manifest 1\n{}", lines.iter().map(|line| format!("{line}\n")).collect::<String>());
        if let Ok(manifest) = text.parse::<Manifest>() {
            prop_assert_eq!(manifest.to_string(), text);
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in any::<String>()) {
        let _ = format!("eval-manifest 1\n{text}").parse::<Manifest>();
    }
}
