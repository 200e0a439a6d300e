//! A build calls the kernel through the native table of calls only: the filter's numbers mean
//! something else in the others.
#![cfg(target_arch = "x86_64")]

use crate::scene::{Scene, run, syscall};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// `mov eax, number; mov ebx, 7; mov edi, 7`, which is "exit with status 7" if `call` is of a table
/// where `number` is "exit".
fn exits(number: u8, call: [u8; 2]) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let code = [&[0xb8, number, 0, 0, 0, 0xbb, 7, 0, 0, 0, 0xbf, 7, 0, 0, 0][..], &call].concat();
    let end = HEADERS + code.len() as u64;
    let mut program = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    for offset in [BASE + HEADERS, 64, 0] {
        program.extend(offset.to_le_bytes());
    }
    program.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    program.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for value in [0, BASE, BASE, end, end, 0x1000] {
        program.extend(value.to_le_bytes());
    }
    program.extend(code);
    program
}

#[test]
fn of_i386_ends_the_program() {
    let scene = Scene::new();
    for (name, program) in [("native", exits(60, [0x0f, 0x05])), ("i386", exits(1, [0xcd, 0x80]))] {
        let path = scene.path("layer").join(name);
        fs::write(&path, program).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let seen = run(&scene.request("for name in native i386; do /$name 2>/dev/null; echo $?; done"));
    let (native, i386) = seen.trim_end().split_once('\n').expect(&seen);
    assert_eq!(native, "7");
    // `SIGSYS` of the filter; `SIGSEGV` where the kernel has no such table.
    assert!(["159", "139"].contains(&i386), "{seen}");
}

#[test]
fn of_x32_is_refused() {
    const X32: libc::c_long = 0x4000_0000;
    assert_eq!(syscall(libc::SYS_getpid, "0"), "OK");
    for call in [libc::SYS_getpid, libc::SYS_mount, libc::SYS_keyctl] {
        assert_eq!(syscall(X32 + call, "0, 0, 0, 0, 0"), "ENOSYS");
    }
}
