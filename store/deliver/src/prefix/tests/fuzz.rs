//! Prefixes, roots and commands at random: packages with reserved names of every kind, roots with
//! odd entries at odd paths.
//!
//! In every case each command ends in a value or an error, nothing outside of the root and nothing
//! of the trees changes, the user's files are found again, and in the end every command works.
//! `EVAL_PREFIX_TREES=10000` makes that many rounds, `FUZZ_SECS` as many as fit; `FUZZ_SEED` is the
//! first.

use super::hostile::NAMES;
use super::shapes::{self, Shape};
use super::*;
use test_support::mutate::{Random, Rounds};

const MODES: [InstallMode; 3] = [InstallMode::Copy, InstallMode::Symlink, InstallMode::Hardlink];

/// A tree of one round: a program, and sometimes a reserved name, where it is refused or allowed.
fn make_tree(world: &World, number: usize, random: &mut Random) {
    let tree = world.tree(&format!("random{number}"));
    let prefix = tree.join("opt/my/stuff");
    if random.one_in(3) {
        let shape = shapes::ALL[random.below(shapes::ALL.len())];
        let name = [MARKER, "bin/odd", "bin/.eval-generation", "lock"][random.below(4)];
        // A copy of these shapes would fill the memory.
        let shape = if matches!(shape, Shape::Huge) { Shape::Empty } else { shape };
        shape.put(&prefix.join(name), &world.outside());
    }
}

/// Makes an entry at an odd path; returns the bytes that must be found again.
fn disturb(world: &World, random: &mut Random) -> Option<&'static str> {
    let shape = shapes::ALL[random.below(shapes::ALL.len())];
    fs::create_dir_all(world.hidden().parent().unwrap()).unwrap();
    let (at, is_ours) = match random.below(8) {
        0 => (world.prefix(), false),
        1 => (world.prefix().join(["mine", "bin/mine", MARKER][random.below(3)]), false),
        _ => {
            let _ = fs::create_dir(world.hidden());
            let name = NAMES[random.below(NAMES.len())];
            let is_ours = ["copying", "incoming", "removing", "lock"].contains(&name) || name.ends_with(".files");
            (world.hidden().join(name), is_ours)
        }
    };
    // The target of a link is not ours to change.
    let is_below_links = at.ancestors().skip(1).take_while(|path| path.starts_with(world.root())).any(Path::is_symlink);
    if is_below_links || !at.parent().unwrap().is_dir() || fs::symlink_metadata(&at).is_ok() {
        return None;
    }
    shape.put(&at, &world.outside());
    shape.precious().filter(|_| !is_ours && !matches!(at.file_name().and_then(|name| name.to_str()), Some(MARKER)))
}

fn command(world: &World, random: &mut Random) -> String {
    let (root, prefix) = (&world.root(), Path::new(PREFIX));
    let force = random.one_in(2);
    let result = match random.below(8) {
        0..=3 => {
            let mode = MODES[random.below(3)];
            let options = InstallOptions { force, keep: random.below(3), durable: false, ..InstallOptions::default() };
            let number = random.below(3);
            install(&world.tree(&format!("random{number}")), root, mode, &options).map(drop)
        }
        4 => {
            let wanted = [Wanted::Previous, Wanted::Newest, Wanted::Number(random.below(5) as u32)][random.below(3)];
            switch(root, prefix, wanted, force).map(drop)
        }
        5 => uninstall(root, prefix, force).map(drop),
        6 => prune(root, prefix, random.below(3), None).map(drop),
        _ => generations(root, prefix).map(drop),
    };
    format!("{result:?}")
}

/// The state that must not change: everything outside, and the trees, except link counts.
fn untouched(world: &World) -> Vec<String> {
    let mut lines = shapes::seen(&world.outside());
    for number in 0..3 {
        lines.extend(shapes::seen(&world.directory.path().join(format!("tree-random{number}"))));
    }
    lines
}

#[test]
fn fuzz_trees_and_roots() {
    let count = std::env::var("EVAL_PREFIX_TREES").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let (mut done, mut reported) = (0, 0);
    let mut rounds = Rounds::new("prefix", count);
    while let Some(mut random) = rounds.next() {
        let world = World::new();
        world.outside();
        let _watched = rounds.watch(b"");
        (0..3).for_each(|number| make_tree(&world, number, &mut random));
        let mut precious = Vec::new();
        let mut said = Vec::new();
        for _ in 0..2 + random.below(5) {
            precious.extend(disturb(&world, &mut random));
            let before = untouched(&world);
            let kept: Vec<&str> =
                precious.iter().copied().filter(|text| shapes::is_somewhere(&world.root(), text)).collect();
            said.push(ends("fuzz", || command(&world, &mut random)));
            let after = untouched(&world);
            assert_eq!(after, before, "{said:#?}");
            for text in kept {
                assert!(shapes::is_somewhere(&world.root(), text), "{text} is lost: {said:#?}");
            }
            reported += u64::from(said.last().unwrap().starts_with("Err"));
            done += 1;
        }
        let before = untouched(&world);
        let case = format!("{said:#?}");
        ends("fuzz", || world.check_that_all_works(&case));
        assert_eq!(untouched(&world), before, "{case}");
    }
    println!("{done} commands, {reported} of them ended in an error");
    assert!(reported > 0 && reported < done);
}

/// Each shape has the content of its name, so that searches for it mean something.
#[test]
fn shapes_have_the_content_of_their_name() {
    let world = World::new();
    for (number, shape) in shapes::ALL.into_iter().enumerate() {
        let at = world.root().join(number.to_string());
        shape.put(&at, &world.outside());
        let metadata = fs::symlink_metadata(&at).unwrap();
        let is_link = matches!(
            shape,
            Shape::LinkToFile | Shape::LinkToDirectory | Shape::Dangling | Shape::Relative(_) | Shape::Circle
        );
        assert_eq!(metadata.is_symlink(), is_link, "{shape:?}");
    }
}
