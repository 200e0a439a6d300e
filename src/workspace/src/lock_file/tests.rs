//! Reading a lock file of any bytes ends in a value or an error.

use super::*;
use test_support::mutate::{Rounds, mutate};

const SEED: &[u8] = br#"{
  "nodes": {
    "dep": {
      "inputs": { "lib": [ "lib" ], "own": "own" },
      "locked": { "path": "./dep", "type": "path" },
      "original": { "path": "./dep", "type": "path" },
      "parent": []
    },
    "lib": {
      "flake": false,
      "locked": { "lastModified": 1700000000, "narHash": "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=",
        "rev": "53b847f5f2705afc01ef70b6f60e323bf6f61421", "shallow": true, "type": "git", "url": "https://a.example/lib" },
      "original": { "type": "git", "url": "https://a.example/lib" }
    },
    "own": { "locked": { "id": "own", "type": "indirect" }, "original": { "id": "own", "type": "indirect" } },
    "root": { "inputs": { "dep": "dep", "lib": "lib", "other": [ "dep", "own" ] } }
  },
  "root": "root",
  "version": 7
}"#;

/// `FUZZ_SECS=600 FUZZ_SEED=1 cargo test lock_file -- --nocapture`
#[test]
fn any_bytes_are_a_lock_that_can_be_written_or_an_error() {
    let words: [&[u8]; 14] = [
        b"\"root\"",
        b"\"dep\"",
        b"\"inputs\"",
        b"\"locked\"",
        b"\"parent\"",
        b"null",
        b"[",
        b"{",
        b"\\ud800",
        b"1e999",
        b"-",
        b"[[[[[[[[[[[[[[[[",
        b"\0",
        b"\xff",
    ];
    let mut rounds = Rounds::new("lock-file", 20_000);
    let mut good = 0;
    while let Some(mut random) = rounds.next() {
        let text = mutate(SEED, SEED, &words, &mut random);
        let _watched = rounds.watch(&text);
        let Ok(lock) = Node::parse(&text) else { continue };
        good += 1;
        let written = lock.to_text();
        let again = Node::parse(written.as_bytes()).unwrap_or_else(|error| panic!("{}", error.kind()));
        assert!(again == lock, "{written}");
        // Everything that can be read can be shown and checked.
        let _ = (lock.changes_since(&Node::default()), lock.check_follows(&lock, &mut InputPath::new()));
    }
    assert!(good > 100, "some changes are none: {good}");
    let deep = [b"{\"nodes\":".as_slice(), &b"[".repeat(1_000_000)].concat();
    assert!(Node::parse(&deep).is_err());
    for end in 0..SEED.len() {
        assert!(Node::parse(&SEED[..end]).is_err());
    }
}
