//! Very many files in an output are adopted, in proportionate memory and time.
//!
//! `EVAL_MANY_FILES=1000000 cargo test -p builder --release --test realise many_files` makes that
//! many.

use super::assert_clean;
use crate::common::World;
use std::fs;

const FILES: &str = "EVAL_MANY_FILES";

#[test]
fn are_taken_over() {
    let count: usize = std::env::var(FILES).ok().map_or(20_000, |text| text.parse().expect("a number"));
    let world = World::new();
    let script = format!(
        r#"mkdir $out; perl -e 'for my $i (1..{count}) {{ open F, ">", "$ENV{{out}}/$i" or die $!; print F $i % 7 }}'"#
    );
    let built = world.built(&world.script("many", &script).add(&world));
    assert_eq!(fs::read_dir(&built).unwrap().count(), count);
    for number in [1, count / 2, count] {
        assert_eq!(fs::read_to_string(built.join(number.to_string())).unwrap(), (number % 7).to_string());
    }
    assert_clean(&world);
}

/// A build directory with very many files is removed, too.
#[test]
fn that_are_left_are_removed() {
    let world = World::new();
    let script = r#"mkdir many; perl -e 'for my $i (1..20000) { open F, ">", "many/$i" or die $! }'; echo x > $out"#;
    world.built(&world.script("left", script).add(&world));
    let mut left = vec![world.store.root().join("tmp")];
    while let Some(directory) = left.pop() {
        assert_ne!(directory.file_name().unwrap(), "many");
        left.extend(fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
}
