//! Prefixes made by hand, each with one leak.

use super::*;
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

const PREFIX: &str = "/opt/p";

/// A 64-bit little-endian ELF file with one segment that holds everything, as small as the loader
/// accepts.
struct ElfFile<'a> {
    interpreter: Option<&'a str>,
    soname: Option<&'a str>,
    rpath: Option<&'a str>,
    runpath: Option<&'a str>,
    needed: &'a [&'a str],
}

const PROGRAM: ElfFile = ElfFile {
    interpreter: Some("/opt/p/lib/ld.so"),
    soname: None,
    rpath: Some("/opt/p/lib"),
    runpath: None,
    needed: &["libc.so"],
};

impl ElfFile<'_> {
    fn bytes(&self) -> Vec<u8> {
        let mut strings = vec![0u8];
        let mut dynamic: Vec<(u64, u64)> = Vec::new();
        let entries = self.needed.iter().map(|name| (1, Some(*name))).chain([
            (14, self.soname),
            (15, self.rpath),
            (29, self.runpath),
        ]);
        for (tag, text) in entries {
            if let Some(text) = text {
                dynamic.push((tag, strings.len() as u64));
                strings.extend(text.bytes().chain([0]));
            }
        }
        let headers = 1 + 1 + u64::from(self.interpreter.is_some());
        let interpreter_at = 64 + 56 * headers;
        let interpreter: Vec<u8> = self.interpreter.map(|text| text.bytes().chain([0]).collect()).unwrap_or_default();
        let strings_at = interpreter_at + interpreter.len() as u64;
        let dynamic_at = strings_at + strings.len() as u64;
        dynamic.push((5, 0x1000 + strings_at));
        dynamic.push((0, 0));
        let end = dynamic_at + 16 * dynamic.len() as u64;

        let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        let half = |bytes: &mut Vec<u8>, values: &[u16]| values.iter().for_each(|v| bytes.extend(v.to_le_bytes()));
        let word = |bytes: &mut Vec<u8>, values: &[u32]| values.iter().for_each(|v| bytes.extend(v.to_le_bytes()));
        let long = |bytes: &mut Vec<u8>, values: &[u64]| values.iter().for_each(|v| bytes.extend(v.to_le_bytes()));
        half(&mut bytes, &[3, 62]);
        word(&mut bytes, &[1]);
        long(&mut bytes, &[0, 64, 0]);
        word(&mut bytes, &[0]);
        half(&mut bytes, &[64, 56, headers as u16, 64, 0, 0]);
        let mut segments = vec![(1, 0, end), (2, dynamic_at, end - dynamic_at)];
        if self.interpreter.is_some() {
            segments.push((3, interpreter_at, interpreter.len() as u64));
        }
        for (kind, offset, len) in segments {
            word(&mut bytes, &[kind, 4]);
            long(&mut bytes, &[offset, 0x1000 + offset, 0x1000 + offset, len, len, 8]);
        }
        bytes.extend(interpreter);
        bytes.extend(strings);
        for (tag, value) in dynamic {
            long(&mut bytes, &[tag, value]);
        }
        bytes
    }
}

struct Prefix {
    root: tempfile::TempDir,
}

impl Prefix {
    /// A prefix without leaks: a loader, a library, a program, a shell script and links.
    fn sound() -> Self {
        let prefix = Self { root: tempfile::tempdir().unwrap() };
        prefix.file(
            "lib/ld.so",
            &ElfFile { interpreter: None, soname: Some("ld.so"), rpath: None, runpath: None, needed: &[] }.bytes(),
        );
        let library = ElfFile { soname: Some("libc.so"), rpath: None, needed: &["ld.so"], ..PROGRAM };
        prefix.file("lib/libc.so", &library.bytes());
        prefix.program("bin/tool", &PROGRAM.bytes());
        prefix.program("bin/script", b"#!/opt/p/bin/tool -e\n");
        prefix.file(
            "lib/pkgconfig/x.pc",
            b"prefix=/opt/p\nlibdir=${prefix}/lib\nURL: https://x.example/\nLibs: -L${libdir} -lx\n",
        );
        prefix.link("lib64", "lib");
        prefix.link("bin/absolute", "/opt/p/bin/tool");
        prefix
    }

    fn path(&self, path: &str) -> PathBuf {
        let path = self.root.path().join("opt/p").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn file(&self, path: &str, content: &[u8]) {
        fs::write(self.path(path), content).unwrap();
    }

    fn program(&self, path: &str, content: &[u8]) {
        self.file(path, content);
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        symlink(target, self.path(path)).unwrap();
    }

    fn audit_with(&self, policy: &Policy) -> Vec<String> {
        let findings = audit(self.root.path(), Path::new(PREFIX), policy).unwrap();
        findings.iter().map(ToString::to_string).collect()
    }

    fn audit(&self) -> Vec<String> {
        self.audit_with(&Policy::default())
    }
}

#[track_caller]
fn check_elf(file: ElfFile, expected: &[&str]) {
    let prefix = Prefix::sound();
    prefix.program("bin/x", &file.bytes());
    let expected: Vec<String> = expected.iter().map(|text| format!("opt/p/bin/x, byte {text}")).collect();
    assert_eq!(prefix.audit(), expected);
}

#[test]
fn a_sound_prefix_has_no_findings() {
    let prefix = Prefix::sound();
    assert_eq!(prefix.audit(), [""; 0]);
    // The prefix's directory alone is audited the same.
    assert_eq!(audit(&prefix.root.path().join("opt/p"), Path::new(PREFIX), &Policy::default()).unwrap(), []);
}

#[test]
fn interpreters() {
    check_elf(
        ElfFile { interpreter: Some("/lib64/ld-linux-x86-64.so.2"), ..PROGRAM },
        &["232: the program is loaded by `/lib64/ld-linux-x86-64.so.2`, which is not in the prefix"],
    );
    check_elf(
        ElfFile { interpreter: Some("/opt/p/lib/none"), ..PROGRAM },
        &["232: the program is loaded by `/opt/p/lib/none`, which does not exist"],
    );
}

#[test]
fn search_paths() {
    check_elf(ElfFile { rpath: Some("$ORIGIN/../lib:/opt/p/lib/../lib"), ..PROGRAM }, &[]);
    check_elf(
        ElfFile { rpath: Some("$ORIGIN/../lib:$ORIGIN/../../../usr/lib::$LIB"), ..PROGRAM },
        &[
            "273: the search path `$ORIGIN/../../../usr/lib` leads out of the prefix",
            "298: the search path `` leads out of the prefix",
            "299: the search path `$LIB` leads out of the prefix",
        ],
    );
    check_elf(
        ElfFile { rpath: None, ..PROGRAM },
        &["232: the program has no rpath, so LD_LIBRARY_PATH chooses its libraries"],
    );
    check_elf(
        ElfFile { rpath: None, runpath: Some("/opt/p/lib"), ..PROGRAM },
        &["258: the search path `/opt/p/lib` is a DT_RUNPATH, which LD_LIBRARY_PATH overrides"],
    );
}

#[test]
fn needed_libraries() {
    check_elf(
        ElfFile { needed: &["libc.so", "libz.so.1", "/lib/libm.so"], ..PROGRAM },
        &[
            "258: the library `libz.so.1` it needs is not in the prefix",
            "268: the library `/lib/libm.so` it needs is not in the prefix",
        ],
    );
}

#[test]
fn scripts() {
    let prefix = Prefix::sound();
    prefix.program("bin/a", b"#! /usr/bin/python3\n");
    prefix.program("bin/b", b"#!/opt/p/bin/python9\n");
    prefix.program("bin/c", b"#!/opt/p/bin/env -S python3 -u\n");
    prefix.program("bin/env", &PROGRAM.bytes());
    prefix.file("share/not-executable", b"#!/usr/bin/perl\n");
    prefix.program("bin/empty", b"#!\n");
    assert_eq!(
        prefix.audit(),
        [
            "opt/p/bin/a, byte 3: the script is run by `/usr/bin/python3`, which is not in the prefix",
            "opt/p/bin/b, byte 2: the script is run by `/opt/p/bin/python9`, which does not exist",
            "opt/p/bin/c, byte 2: the script is run by `python3` from PATH, by way of `/opt/p/bin/env`",
            "opt/p/bin/empty, byte 0: `#!` names no interpreter",
        ]
    );
}

#[test]
fn compiler_metadata() {
    let prefix = Prefix::sound();
    prefix.file("lib/pkgconfig/y.pc", b"prefix=/usr\nURL: https://x/y\nCflags: -I/opt/p/include -I/opt/px\n");
    prefix.file(
        "lib/liby.la",
        b"# comment /usr\ndependency_libs=' -L/usr/lib /opt/p/lib/libz.la'\nlibdir='/opt/p/lib'\n",
    );
    assert_eq!(
        prefix.audit(),
        [
            "opt/p/lib/liby.la, byte 35: it names `/usr/lib`, which is not in the prefix",
            "opt/p/lib/pkgconfig/y.pc, byte 7: it names `/usr`, which is not in the prefix",
            "opt/p/lib/pkgconfig/y.pc, byte 56: it names `/opt/px`, which is not in the prefix",
        ]
    );
}

#[test]
fn links_and_odd_files() {
    let prefix = Prefix::sound();
    prefix.link("share/localtime", "/etc/localtime");
    prefix.link("share/up", "../../../etc/passwd");
    prefix.link("share/dangling", "tabset");
    prefix.link("share/circle", "circle");
    fs::write(prefix.root.path().join("stray"), "").unwrap();
    prefix.file("bin/suid", b"x");
    fs::set_permissions(prefix.path("bin/suid"), fs::Permissions::from_mode(0o4755)).unwrap();
    nix::unistd::mkfifo(&prefix.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(
        prefix.audit(),
        [
            "opt/p/bin/suid: the set-id bit is set",
            "opt/p/fifo: it is a fifo",
            "opt/p/share/circle: the link to `circle` is part of a cycle",
            "opt/p/share/dangling: the link leads nowhere: `tabset` is not in the prefix",
            "opt/p/share/localtime: the link leads out of the prefix, to `/etc/localtime`",
            "opt/p/share/up: the link leads out of the prefix, to `../../../etc/passwd`",
            "stray: the file is beside the prefix",
        ]
    );
}

#[test]
fn accepted_findings() {
    let prefix = Prefix::sound();
    prefix.file("share/a", b"\0/build/x\0");
    prefix.file("share/b", b"\0/build/x\0");
    let allow = |pairs: &[(&str, &str)]| Policy {
        allow: pairs.iter().map(|(glob, text)| (glob.to_string(), text.to_string())).collect(),
        ..Policy::default()
    };
    assert_eq!(
        prefix.audit_with(&allow(&[("share/a", "/build/x")])),
        ["opt/p/share/b, byte 1: the bytes name a directory of the build: `/build/x`"]
    );
    assert_eq!(prefix.audit_with(&allow(&[("**", "")])), [""; 0]);
    assert_eq!(prefix.audit_with(&allow(&[("*", ""), ("**", "/other")])).len(), 2);
    let error = audit(prefix.root.path(), Path::new(PREFIX), &allow(&[("a[", "")])).unwrap_err();
    assert!(error.to_string().starts_with("the allow list's glob `a[` is malformed"), "{error}");
}

#[test]
fn invalid_prefixes_are_refused() {
    let prefix = Prefix::sound();
    for bad in ["/", "opt/p", "/opt/../p"] {
        let error = audit(prefix.root.path(), Path::new(bad), &Policy::default()).unwrap_err();
        assert!(matches!(error, AuditError::Prefix { .. }), "{bad}: {error}");
    }
}

#[test]
fn truncated_elf_is_a_finding() {
    let prefix = Prefix::sound();
    let bytes = PROGRAM.bytes();
    prefix.program("bin/cut", &bytes[..bytes.len() - 40]);
    prefix.program("bin/stub", b"\x7fELF");
    let findings = prefix.audit();
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert!(findings.iter().all(|text| text.contains("the ELF file is damaged")), "{findings:?}");
}

proptest! {
    /// Damaged ELF files never cause a panic.
    #[test]
    fn damaged_elf_never_panics(changes in proptest::collection::vec((0usize..420, any::<u8>()), 1..12), len in 4usize..420) {
        let mut bytes = PROGRAM.bytes();
        for (at, byte) in changes {
            if let Some(there) = bytes.get_mut(at) {
                *there = byte;
            }
        }
        bytes[..4].copy_from_slice(b"\x7fELF");
        bytes.truncate(len);
        let tree = Tree::read(tempfile::tempdir().unwrap().path(), Path::new(PREFIX)).unwrap();
        let mut report = FileFindings { path: b"/opt/p/x", relative: "x".into(), findings: Vec::new() };
        elf::check(&bytes, &tree, &[], &mut report);
    }
}
