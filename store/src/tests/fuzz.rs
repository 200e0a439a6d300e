//! Archives, directories, derivations and databases with damaged bytes: reading them ends in a
//! value or an error, never in a panic, and each value that was read is written with the same
//! bytes.
//!
//! ```text
//! FUZZ_SECS=600 FUZZ_SEED=1 cargo test -p store --lib fuzz -- --nocapture
//! ```

use super::{TempStore, make, name, open, temp_store};
use crate::{Durability, LocalStore, OpenOptions, archive as nar};
use model::{Derivation, Digest, Directory, Node, StoreModel, StorePath};
use std::io::Read;
use std::path::Path;
use test_support::mutate::{Rounds, mutate};

const TREE: &str = "
    a = some text
    bin/program * #!/bin/sh
    bin/link -> program
    d/e/f = deep
    empty/
    z = ";

fn tree_on_disk(dir: &Path) -> Vec<u8> {
    make(&dir.join("tree"), TREE);
    let mut bytes = Vec::new();
    nar::write(&dir.join("tree"), &mut bytes).unwrap();
    bytes
}

#[test]
fn archives() {
    let temp = super::Temporary::new();
    let seed = tree_on_disk(temp.path());
    std::fs::write(temp.path().join("outside"), "untouched").unwrap();
    let words: [&[u8]; 9] = [
        b"\x01\0\0\0\0\0\0\0(\0\0\0\0\0\0\0",
        b"\x01\0\0\0\0\0\0\0)\0\0\0\0\0\0\0",
        b"\x05\0\0\0\0\0\0\0entry\0\0\0",
        b"\x04\0\0\0\0\0\0\0name\0\0\0\0",
        b"\x02\0\0\0\0\0\0\0..\0\0\0\0\0\0",
        b"\x03\0\0\0\0\0\0\0../\0\0\0\0\0",
        b"\x07\0\0\0\0\0\0\0symlink\0",
        b"\x09\0\0\0\0\0\0\0directory\0\0\0\0\0\0\0",
        b"\x0a\0\0\0\0\0\0\0executable\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    ];
    let mut rounds = Rounds::new("nar", 1_500);
    let mut whole = 0;
    while let Some(mut random) = rounds.next() {
        let bytes = mutate(&seed, &seed, &words, &mut random);
        let _watched = rounds.watch(&bytes);
        let into = temp.path().join("into");
        std::fs::create_dir(&into).unwrap();
        let mut rest = bytes.as_slice();
        if nar::unpack(&mut rest, &into.join("root")).is_ok() {
            whole += 1;
            let mut again = Vec::new();
            nar::write(&into.join("root"), &mut again).unwrap();
            assert_eq!(again, bytes[..bytes.len() - rest.len()], "one form for one content");
        }
        assert!(std::fs::read_dir(&into).unwrap().count() <= 1, "something was written beside the root");
        os::dir::Dir::open(temp.path()).unwrap().remove_all(b"into").unwrap();
        assert_eq!(std::fs::read_to_string(temp.path().join("outside")).unwrap(), "untouched");
    }
    assert!(whole > 0, "some changes are none");
}

#[test]
fn directories() {
    let digest = |text: &str| Digest::of(text.as_bytes());
    let mut seed = Directory::new();
    for number in 0..6u8 {
        let node = match number % 3 {
            0 => Node::File { digest: digest("x"), executable: number == 3, size: u64::from(number) << 20 },
            1 => Node::Directory { digest: digest("y"), size: 77 },
            _ => Node::Symlink { target: b"../target".to_vec() },
        };
        seed.insert(vec![b'a' + number; 1 + usize::from(number)], node).unwrap();
    }
    let bytes = seed.encode();
    let length = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    let words: [&[u8]; 8] = [length, b"\x0a", b"\x12", b"\x1a", b"\x20\x00", b"\x20\x01", b"..", b"/"];
    let mut rounds = Rounds::new("directory", 20_000);
    let mut good = 0;
    while let Some(mut random) = rounds.next() {
        let changed = mutate(&bytes, &bytes, &words, &mut random);
        let _watched = rounds.watch(&changed);
        if let Ok(directory) = Directory::decode(&changed) {
            assert_eq!(directory.encode(), changed);
            assert!(directory.iter().all(|(name, _)| model::tree::is_entry_name(name)));
            good += 1;
        }
        if let Some(node) = Node::from_bytes(&changed) {
            assert_eq!(node.to_bytes(), changed);
        }
    }
    assert!(good > 0, "some changes are none");
}

const DERIVATION: &[u8] = br#"Derive([("dev","/nix/store/xcbzprks3hhxls4jmyc93n7f81467kxy-a-dev","",""),("out","/nix/store/4snkpihbd67mc882fsfh2x08y8zsl36p-a","","")],[("/nix/store/2lv21lxdqnphq2l7v9brwq0gpk9hpq15-fx.drv",["out"]),("/nix/store/94ln8a4cy70fid7kzahy12lqpavfvhf8-fg.drv",["out"])],["/nix/store/vxjiwkjkn7x4079qvh1jkl5pn05j2aw0-foo"],"x86_64-linux","/bin/sh",["-c","echo \"x\"\n\t\\"],[("builder","/bin/sh"),("dev","/nix/store/xcbzprks3hhxls4jmyc93n7f81467kxy-a-dev"),("name","a"),("out","/nix/store/4snkpihbd67mc882fsfh2x08y8zsl36p-a"),("outputs","out dev"),("system","x86_64-linux")])"#;
const FIXED: &[u8] = br#"Derive([("out","/nix/store/v4da6pl4hwihm7pzvfn3xg26np3r6i68-fx","r:sha256","ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")],[],[],"x86_64-linux","/bin/sh",[],[("builder","/bin/sh"),("name","fx"),("out","/nix/store/v4da6pl4hwihm7pzvfn3xg26np3r6i68-fx"),("outputHash","sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="),("outputHashAlgo","sha256"),("outputHashMode","recursive"),("system","x86_64-linux")])"#;

#[test]
fn derivations() {
    let words: [&[u8]; 16] = [
        b"(",
        b")",
        b"[",
        b"]",
        b",",
        b"\"",
        b"\\\"",
        b"\\",
        b"\\n",
        b"r:sha256",
        b"text:sha256",
        b"impure",
        b"\0",
        b"\xff",
        b"/nix/store/",
        b"..",
    ];
    let model = StoreModel::Nix;
    let mut rounds = Rounds::new("drv", 20_000);
    let mut good = 0;
    while let Some(mut random) = rounds.next() {
        let seed = if random.one_in(2) { DERIVATION } else { FIXED };
        let text = mutate(seed, DERIVATION, &words, &mut random);
        let _watched = rounds.watch(&text);
        if let Ok(derivation) = Derivation::from_aterm(model, name("a"), &text) {
            assert_eq!(derivation.to_aterm(model).unwrap(), text);
            // Each value that was read can be used: none of this panics, though not all of it need
            // make sense.
            let _ = derivation.output_paths(model);
            let _ = derivation.path_and_text(model);
            let _ = derivation.to_json(model);
            good += 1;
        }
    }
    assert!(good > 0, "some changes are none");
    // The text has no depth, but lists can be long and strings can end anywhere.
    for end in 0..DERIVATION.len() {
        assert!(Derivation::from_aterm(model, name("a"), &DERIVATION[..end]).is_err());
    }
    let deep = [b"Derive(".as_slice(), &b"[".repeat(1_000_000)].concat();
    assert!(Derivation::from_aterm(model, name("a"), &deep).is_err());
}

/// A store with a few objects, its database in one file.
fn store_with_objects() -> (TempStore, Vec<StorePath>) {
    let store = temp_store();
    make(&store.dir.path().join("source"), TREE);
    let source = store.add_source(&store.dir.path().join("source"), name("source"), None).unwrap();
    (store, vec![source])
}

#[test]
fn databases() {
    let (temp, paths) = store_with_objects();
    let root = temp.store.root().to_owned();
    drop(temp.store);
    let file = root.join("db/store.sqlite");
    // The last connection that closes leaves no journal.
    let seed = std::fs::read(&file).unwrap();
    assert!(seed.len() > 4096 && !root.join("db/store.sqlite-wal").exists());
    let words: [&[u8]; 6] =
        [b"SQLite format 3\0", b"CREATE TABLE", b"\0\0\0\0", b"\xff\xff\xff\xff", b"source", b"\x0d\0\0\0"];
    let mut rounds = Rounds::new("database", 300);
    let (mut opened, mut refused) = (0, 0);
    while let Some(mut random) = rounds.next() {
        let mut changed = mutate(&seed, &seed, &words, &mut random);
        if random.one_in(3) {
            changed = seed[..random.below(seed.len())].to_vec();
        }
        let _watched = rounds.watch(&changed[..changed.len().min(512)]);
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(root.join(format!("db/store.sqlite{end}")));
        }
        std::fs::write(&file, &changed).unwrap();
        let store = LocalStore::open_with(&root, OpenOptions { durability: Durability::Relaxed });
        let store = store.unwrap();
        if store.all_paths().is_err() {
            refused += 1;
            continue;
        }
        opened += 1;
        for path in &paths {
            let _ = store.path_info(path);
            let _ = store.tree_of(path);
            let _ = store.closure(path);
            let _ = store.derivers(path);
            let _ = store.nar_info(path);
        }
        let _ = store.verify(false);
    }
    assert!(opened > 0 && refused > 0, "{opened} opened, {refused} refused");
    // A lost database is rebuilt from the objects.
    std::fs::write(&file, b"this is no database").unwrap();
    let (store, count) = LocalStore::rebuild_db(&root, OpenOptions { durability: Durability::Relaxed }, false).unwrap();
    assert_eq!(count, paths.len());
    let mut tree = String::new();
    std::fs::File::open(store.physical_path(&paths[0]).join("d/e/f")).unwrap().read_to_string(&mut tree).unwrap();
    assert_eq!(tree, "deep");
    drop(open(&root));
}
