//! Damaged paths are found and made again, and never used.

use crate::common::{World, recipe, text};
use model::{HashAlgorithm, Ingestion, StoreModel, StorePathName};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn tamper(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let length = std::fs::metadata(path).unwrap().len() as usize;
    std::fs::write(path, vec![b'!'; length]).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o444)).unwrap();
}

#[test]
fn what_a_root_needs_is_built_again() {
    let world = World::new();
    let below = world.script("below", "echo below > $out").add(&world);
    let path = StoreModel::Native.print(&world.output(&below, "out"));
    let above =
        world.script("above", &format!("echo {path} > $out")).needs(&world, &below).set("input", path).add(&world);
    let garbage = world.script("garbage", "echo garbage > $out").add(&world);
    for drv in [&above, &garbage] {
        world.built(drv);
    }
    world.store.add_named_root(&StorePathName::new("keep").unwrap(), &world.output(&above, "out")).unwrap();
    for drv in [&below, &garbage] {
        tamper(&world.physical(drv, "out"));
    }
    let report = world.store.verify(true).unwrap();
    let outputs = [&below, &above, &garbage].map(|drv| world.output(drv, "out"));
    assert_eq!(report.invalidated, outputs.iter().cloned().collect());
    let repaired = world.builder().repair(&report.invalidated).unwrap();
    assert_eq!(repaired.made, outputs[..2].iter().cloned().collect());
    assert!(repaired.missing.is_empty() && repaired.failures.is_empty());
    assert_eq!(text(&world.physical(&below, "out")), "below\n");
    assert_eq!(world.store.verify(false).unwrap().damage, []);
    assert!(!world.store.is_valid(&outputs[2]).unwrap(), "nothing needs it");
}

#[test]
fn a_result_that_was_tampered_with_is_not_taken() {
    let world = World::new();
    let first = world.script("same", "echo same > $out").add(&world);
    let blob = world.store.tree_of(&{
        world.built(&first);
        world.output(&first, "out")
    });
    let blob = world.store.blob_path(&blob.unwrap().digest().unwrap(), false);
    // Another derivation with the same action: its result is known.
    let second = world.script("same", "echo same > $out").set("__note", "another").add(&world);
    tamper(&blob);
    assert_eq!(text(&world.built(&second)), "same\n");
    assert_eq!(world.ended("same"), "Built");
    // Untouched, it is taken.
    let third = world.script("same", "echo same > $out").set("__note", "a third").add(&world);
    assert_eq!(text(&world.built(&third)), "same\n");
    assert_eq!(world.ended("same"), "CutOff");
}

#[test]
fn a_known_tree_is_not_taken_when_one_file_of_it_was_written_to() {
    let world = World::new();
    let script = "mkdir -p $out/below; echo one > $out/one; echo two > $out/below/two";
    let first = world.script("tree", script).add(&world);
    world.built(&first);
    let top = world.store.tree_of(&world.output(&first, "out")).unwrap().digest().unwrap();
    let below = world.store.load_directory(&top).unwrap();
    let below = below.iter().find(|(name, _)| *name == b"below").unwrap().1.digest().unwrap();
    let two = world.store.load_directory(&below).unwrap().iter().next().unwrap().1.digest().unwrap();
    for (round, digest) in [two, below].into_iter().enumerate() {
        tamper(&world.store.blob_path(&digest, false));
        let again = world.script("tree", script).set("__note", format!("round {round}")).add(&world);
        let made = world.built(&again);
        assert_eq!(world.ended("tree"), "Built", "round {round}");
        assert_eq!(text(&made.join("below/two")), "two\n");
        // The path that was made again is used.
        let third = world.script("tree", script).set("__note", format!("after round {round}")).add(&world);
        assert_eq!(text(&world.built(&third).join("below/two")), "two\n");
        assert_eq!(world.ended("tree"), "CutOff", "after round {round}");
    }
}

#[test]
fn what_was_tampered_with_goes_into_no_union() {
    let world = World::new();
    let [a, b] = ["a", "b"].map(|name| {
        let drv = world.write(name, serde_json::json!({ (name): { "text": name } }));
        world.built(&drv);
        drv
    });
    let union = world.union("union", &[&a, &b]).add(&world);
    tamper(&world.physical(&a, "out").join("a"));
    let error = world.error(&union);
    assert!(error.contains("is missing or modified"), "{error}");
    assert!(!world.store.is_valid(&world.output(&union, "out")).unwrap());
    world.store.add_named_root(&StorePathName::new("keep").unwrap(), &world.output(&a, "out")).unwrap();
    let report = world.store.verify(true).unwrap();
    world.builder().repair(&report.invalidated).unwrap();
    assert_eq!(text(&world.built(&union).join("a")), "a");
}

/// A server that gives the same answer to every request, and counts them.
struct Server {
    url: String,
    body: std::sync::Arc<std::sync::Mutex<&'static str>>,
    asked: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

impl Server {
    fn new(body: &'static str) -> Server {
        use std::io::{BufRead, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/file", listener.local_addr().unwrap());
        let (body, asked) = (std::sync::Arc::new(std::sync::Mutex::new(body)), std::sync::Arc::default());
        let server = Server { url, body, asked };
        let (body, asked) = (server.body.clone(), server.asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let lines = std::io::BufReader::new(stream.try_clone().unwrap()).lines();
                for _ in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {}
                asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let body = *body.lock().unwrap();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).unwrap();
            }
        });
        server
    }

    fn asked(&self) -> usize {
        self.asked.load(std::sync::atomic::Ordering::SeqCst)
    }
}

#[test]
fn what_was_fetched_is_fetched_again_and_checked() {
    let world = World::new();
    let server = Server::new("from afar");
    let hash = HashAlgorithm::Sha256.hash(b"from afar");
    let drv =
        recipe("file", "builtin:fetchurl").set("urls", &server.url).fixed(&hash.sri(), Ingestion::Flat).add(&world);
    let path = world.output(&drv, "out");
    assert_eq!(text(&world.built(&drv)), "from afar");
    world.store.add_named_root(&StorePathName::new("keep").unwrap(), &path).unwrap();
    assert_eq!(server.asked(), 1);

    // The file has another hash now: the path stays missing, and no build uses it.
    tamper(&world.physical(&drv, "out"));
    let report = world.store.verify(true).unwrap();
    assert_eq!(report.invalidated, BTreeSet::from([path.clone()]));
    *server.body.lock().unwrap() = "something";
    let repaired = world.builder().repair(&report.invalidated).unwrap();
    assert_eq!(repaired.missing, BTreeSet::from([path.clone()]));
    assert!(repaired.failures[0].to_string().contains("another hash"), "{}", repaired.failures[0]);
    assert!(!world.store.is_valid(&path).unwrap());

    *server.body.lock().unwrap() = "from afar";
    let repaired = world.builder().repair(&report.invalidated).unwrap();
    assert_eq!(repaired.made, BTreeSet::from([path]));
    assert_eq!(text(&world.physical(&drv, "out")), "from afar");
    assert_eq!(world.store.verify(false).unwrap().damage, []);
}
