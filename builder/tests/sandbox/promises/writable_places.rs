//! A build writes to `/build`, `/tmp`, `/dev/shm` and its outputs only.

use crate::scene::shell;

#[test]
fn are_build_tmp_shm_and_output_only() {
    let script = "for d in /build /tmp /dev/shm /output /var/tmp / /etc /usr /dev /proc /source /eval/store; do
        if (echo x > $d/file) 2>/dev/null; then echo yes $d; else echo no $d; fi; done";
    assert_eq!(
        shell(script),
        "yes /build\nyes /tmp\nyes /dev/shm\nyes /output\nno /var/tmp\nno /\nno /etc\nno /usr\nno /dev\nno /proc\nno /source\nno /eval/store\n"
    );
}

/// Renaming between directories works, as moving things within the build directory must.
#[test]
fn let_files_be_moved_and_linked() {
    assert_eq!(shell("mkdir a b && echo x > a/f && mv a/f b/f && ln b/f a/g && cat a/g"), "x\n");
}
