//! The time of a build beside that of its builder. Run with `cargo test -p builder --release --test
//! realise -- --ignored --nocapture`.

use crate::common::World;
use std::time::Instant;
use store::{Durability, LocalStore, OpenOptions};

#[test]
#[ignore = "a measurement"]
fn trivial_builds() {
    const COUNT: usize = 300;
    for durability in [Durability::Relaxed, Durability::Full] {
        let mut world = World::new();
        world.options.jobs = 2;
        let drvs: Vec<_> =
            (0..COUNT).map(|i| world.script(&format!("t{i}"), &format!("echo {i} > $out")).add(&world)).collect();
        let root = world.store.root().to_owned();
        world.store = LocalStore::open_with(&root, OpenOptions { durability }).unwrap().into();
        let all: Vec<_> = drvs.iter().collect();
        let (begin, used) = (Instant::now(), processor_secs());
        world.build(&all).map_err(|e| e.to_string()).unwrap();
        let (wall, cpu) = (begin.elapsed(), processor_secs() - used);
        println!("{COUNT} builds, {durability:?}: {wall:?} wall, {cpu:.2} s processor time here and in builds");
        let (begin, used) = (Instant::now(), processor_secs());
        assert!(world.plan(&all).is_empty());
        println!("  again: {:?} wall, {:.3} s processor time", begin.elapsed(), processor_secs() - used);
    }
}

/// User and system time of this process and of all that it has waited for.
fn processor_secs() -> f64 {
    use nix::sys::resource::{UsageWho, getrusage};
    [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN]
        .into_iter()
        .map(|who| getrusage(who).unwrap())
        .flat_map(|usage| [usage.user_time(), usage.system_time()])
        .map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6)
        .sum()
}
