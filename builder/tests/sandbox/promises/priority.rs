//! The priority of a build is the caller's, or as far below as was asked.

use crate::scene::shell;
use crate::support::limited;
use sandbox::request::Limits;

#[test]
fn is_lowered_as_asked() {
    let before: i32 = shell("nice").trim().parse().unwrap();
    let ran = limited("nice", Limits { niceness: 7, ..Limits::default() }, 60);
    assert_eq!(ran.log.trim().parse(), Ok((before + 7).min(19)));
}

#[test]
fn is_not_raised_by_the_build() {
    let limits = Limits { niceness: 7, ..Limits::default() };
    let raise =
        "before=$(nice); [ $(nice -n -5 nice 2>/dev/null) = $before ] && echo refused; nice -n 1 true && echo lowered";
    assert_eq!(limited(raise, limits, 60).log, "refused\nlowered\n");
}
