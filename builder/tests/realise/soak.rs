//! Eight processes on one store at once, round after round: each builds part of one graph, adds a
//! source, collects and verifies, in an order of its own; one of them is killed during the run.
//!
//! In any order, every action runs to its end once, nothing that is in use is collected, nothing is
//! damaged, and the killed process leaves neither a lock nor anything else that a collection does
//! not remove. `EVAL_SOAK_ROUNDS=500 cargo test -p builder --release --test realise soak` is the
//! long run.

use crate::common::{World, text};
use model::{StoreModel, StorePath, StorePathName};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use store::{GcOptions, LocalStore};

const ROUNDS: &str = "EVAL_SOAK_ROUNDS";
const ROOT: &str = "EVAL_SOAK_ROOT";
const SEED: &str = "EVAL_SOAK_SEED";
const TARGETS: &str = "EVAL_SOAK_TARGETS";

const PROCESSES: u64 = 8;
const LEAVES: usize = 6;

/// A source of numbers that differ from seed to seed and not from run to run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        // Marsaglia's xorshift.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Not a test by itself: the work of each process.
#[test]
fn process() {
    let (Ok(root), Ok(seed), Ok(targets)) = (std::env::var(ROOT), std::env::var(SEED), std::env::var(TARGETS)) else {
        return;
    };
    let world = World::at(Path::new(&root));
    let targets: Vec<StorePath> = targets.split(' ').map(|text| StorePath::parse(text).unwrap()).collect();
    let mut numbers = Numbers(seed.parse::<u64>().unwrap() | 1);
    let mut used = Vec::new();
    for step in 0..6 {
        match if step == 3 { 0 } else { numbers.below(5) } {
            0 | 1 => {
                let start = numbers.below(targets.len() as u64) as usize;
                let some: Vec<&StorePath> = targets.iter().cycle().skip(start).take(3).collect();
                world.build(&some).unwrap_or_else(|error| panic!("{error}"));
                used.extend(some.into_iter().map(|drv| world.output(drv, "out")));
            }
            2 => {
                let name = StorePathName::new("source").unwrap();
                used.push(world.store.add_source(&Path::new(&root).join("../source"), name, None).unwrap());
                // Garbage as soon as this process ends.
                let own = StorePathName::new(&format!("own-{seed}-{step}")).unwrap();
                used.push(world.store.add_text(own, seed.as_bytes(), &Default::default()).unwrap());
            }
            3 => drop(world.store.gc(GcOptions::default(), &mut |_| {}).unwrap()),
            _ => assert_eq!(world.store.verify(false).unwrap().damage, []),
        }
        for path in &used {
            assert!(world.store.is_valid(path).unwrap(), "{path} is in use and was collected");
            assert!(world.store.physical_path(path).exists(), "{path} is in use and is not there");
        }
    }
}

fn start(root: &Path, seed: u64, targets: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "soak::process", "--test-threads=1", "--nocapture"])
        .env(ROOT, root)
        .env(SEED, seed.to_string())
        .env(TARGETS, targets)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Leaves, each needed by two above it, which are needed by one: every process meets every other on
/// them.
fn graph(world: &World, round: u64) -> Vec<StorePath> {
    let leaves: Vec<StorePath> = (0..LEAVES)
        .map(|n| world.script(&format!("leaf-{round}-{n}"), &format!("echo leaf {round} {n} > $out")).add(world))
        .collect();
    let above: Vec<StorePath> = (0..LEAVES)
        .map(|n| {
            let (one, two) = (&leaves[n], &leaves[(n + 1) % LEAVES]);
            let path = |drv: &StorePath| StoreModel::Native.print(&world.output(drv, "out"));
            let script = format!("cat {} {} > $out", path(one), path(two));
            let inputs = format!("{} {}", path(one), path(two));
            let recipe = world.script(&format!("above-{round}-{n}"), &script);
            recipe.needs(world, one).needs(world, two).set("inputs", inputs).add(world)
        })
        .collect();
    leaves.into_iter().chain(above).collect()
}

#[test]
fn eight_processes_at_once() {
    let rounds = std::env::var(ROUNDS).ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("root");
    std::fs::create_dir_all(place.path().join("source/deep")).unwrap();
    for n in 0..40 {
        std::fs::write(place.path().join(format!("source/deep/f{n}")), format!("{}", n % 7)).unwrap();
    }
    let (mut builds, mut killed) = (0, 0);
    let begin = Instant::now();
    for round in 0..rounds {
        // The paths that this process made and named are in use until the round is over.
        let world = World::at(&root);
        let drvs = graph(&world, round);
        for drv in &drvs {
            world.store.temp_root(&world.output(drv, "out")).unwrap();
        }
        let targets: Vec<String> = drvs.iter().map(ToString::to_string).collect();
        let mut numbers = Numbers(round * 2 + 77);
        let mut children: Vec<Child> = (0..PROCESSES)
            .map(|n| start(&root, (round * PROCESSES + n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15), &targets.join(" ")))
            .collect();
        std::thread::sleep(Duration::from_millis(20 + numbers.below(400)));
        let mut victim = children.swap_remove(numbers.below(PROCESSES) as usize);
        // It may be done already.
        victim.kill().unwrap();
        killed += u64::from(!victim.wait().unwrap().success());
        for child in children {
            let ended = child.wait_with_output().unwrap();
            let printed = String::from_utf8_lossy(&ended.stdout) + String::from_utf8_lossy(&ended.stderr);
            assert!(ended.status.success(), "round {round}: {printed}");
        }
        world.build(&drvs.iter().collect::<Vec<_>>()).unwrap_or_else(|error| panic!("round {round}: {error}"));
        for drv in &drvs {
            let runs = world.store.builds(drv).unwrap().len();
            assert_eq!(runs, 1, "round {round}: {drv} was built {runs} times");
            let path = world.output(drv, "out");
            assert!(world.store.try_lock_path(&path).unwrap().is_ok(), "round {round}: a lock on {path} is left");
            assert!(text(&world.store.physical_path(&path)).starts_with("leaf"));
        }
        builds += drvs.len();
        assert_eq!(world.store.verify(false).unwrap().damage, [], "round {round}");
    }
    let store = LocalStore::open(&root).unwrap();
    store.gc(GcOptions::default(), &mut |_| {}).unwrap();
    assert_eq!(store.all_paths().unwrap(), []);
    for (dir, left) in [("store", 0), ("tmp", 0), ("locks", 2)] {
        let names: Vec<_> =
            std::fs::read_dir(root.join(dir)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), left, "{names:?} in {dir}");
    }
    println!("{rounds} rounds of {PROCESSES} processes: {builds} builds, {killed} killed, {:?}", begin.elapsed());
}
