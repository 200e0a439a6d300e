//! Compares with the text that Nix 2.8 writes for the same four derivations (one fixed recursive,
//! one fixed flat, one with two outputs and a source, and one that uses it).

use super::*;
use proptest::prelude::*;

const MODEL: StoreModel = StoreModel::Nix;

const FX: (&str, &[u8]) = (
    "2lv21lxdqnphq2l7v9brwq0gpk9hpq15-fx.drv",
    br#"Derive([("out","/nix/store/v4da6pl4hwihm7pzvfn3xg26np3r6i68-fx","r:sha256","ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")],[],[],"x86_64-linux","/bin/sh",[],[("builder","/bin/sh"),("name","fx"),("out","/nix/store/v4da6pl4hwihm7pzvfn3xg26np3r6i68-fx"),("outputHash","sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="),("outputHashAlgo","sha256"),("outputHashMode","recursive"),("system","x86_64-linux")])"#,
);
const FG: (&str, &[u8]) = (
    "94ln8a4cy70fid7kzahy12lqpavfvhf8-fg.drv",
    br#"Derive([("out","/nix/store/7qgz3n6a591yrl6lk8z0dywryb7xy0mc-fg","md5","900150983cd24fb0d6963f7d28e17f72")],[],[],"x86_64-linux","/bin/sh",[],[("builder","/bin/sh"),("name","fg"),("out","/nix/store/7qgz3n6a591yrl6lk8z0dywryb7xy0mc-fg"),("outputHash","900150983cd24fb0d6963f7d28e17f72"),("outputHashAlgo","md5"),("outputHashMode","flat"),("system","x86_64-linux")])"#,
);
const A: (&str, &[u8]) = (
    "1bzy2i5cxnkaff6wy06fi7ny7ymh50dj-a.drv",
    br#"Derive([("dev","/nix/store/xcbzprks3hhxls4jmyc93n7f81467kxy-a-dev","",""),("out","/nix/store/4snkpihbd67mc882fsfh2x08y8zsl36p-a","","")],[("/nix/store/2lv21lxdqnphq2l7v9brwq0gpk9hpq15-fx.drv",["out"]),("/nix/store/94ln8a4cy70fid7kzahy12lqpavfvhf8-fg.drv",["out"])],["/nix/store/vxjiwkjkn7x4079qvh1jkl5pn05j2aw0-foo"],"x86_64-linux","/bin/sh",["-c","echo \"x\"\n\t\\"],[("builder","/bin/sh"),("dev","/nix/store/xcbzprks3hhxls4jmyc93n7f81467kxy-a-dev"),("f","/nix/store/v4da6pl4hwihm7pzvfn3xg26np3r6i68-fx"),("g","/nix/store/7qgz3n6a591yrl6lk8z0dywryb7xy0mc-fg"),("name","a"),("out","/nix/store/4snkpihbd67mc882fsfh2x08y8zsl36p-a"),("outputs","out dev"),("src","/nix/store/vxjiwkjkn7x4079qvh1jkl5pn05j2aw0-foo"),("system","x86_64-linux")])"#,
);
const B: (&str, &str) = (
    "7bgz7lq1k0rs23dqrs98jap22x46jrhc-b.drv",
    r#"Derive([("out","/nix/store/1h5hvjsa4dszfph3hyy9jj83p5adyisg-b","","")],[("/nix/store/1bzy2i5cxnkaff6wy06fi7ny7ymh50dj-a.drv",["dev","out"]),("/nix/store/2lv21lxdqnphq2l7v9brwq0gpk9hpq15-fx.drv",["out"])],["/nix/store/2lv21lxdqnphq2l7v9brwq0gpk9hpq15-fx.drv"],"x86_64-linux","/nix/store/xcbzprks3hhxls4jmyc93n7f81467kxy-a-dev/bin/sh",[],[("builder","/nix/store/xcbzprks3hhxls4jmyc93n7f81467kxy-a-dev/bin/sh"),("name","b"),("out","/nix/store/1h5hvjsa4dszfph3hyy9jj83p5adyisg-b"),("system","x86_64-linux"),("x","/nix/store/4snkpihbd67mc882fsfh2x08y8zsl36p-a"),("y","é"),("z","/nix/store/2lv21lxdqnphq2l7v9brwq0gpk9hpq15-fx.drv")])"#,
);

fn all() -> Vec<(StorePath, &'static [u8])> {
    [FX, FG, A, (B.0, B.1.as_bytes())].into_iter().map(|(path, text)| (StorePath::parse(path).unwrap(), text)).collect()
}

fn parse(path: &StorePath, text: &[u8]) -> Derivation {
    Derivation::from_aterm(MODEL, name_of_path(path).unwrap(), text).unwrap()
}

fn load(path: &StorePath) -> Result<Derivation, DerivationError> {
    let found = all().into_iter().find(|(known, _)| known == path);
    found
        .map(|(path, text)| parse(&path, text))
        .ok_or_else(|| DerivationError::Load { path: path.to_string(), reason: "not there".to_owned() })
}

#[test]
fn text_and_path_of_the_derivation_are_those_of_nix() {
    for (path, text) in all() {
        let (made, written) = parse(&path, text).path_and_text(MODEL).unwrap();
        assert_eq!(made, path);
        assert_eq!(written, text);
    }
}

#[test]
fn output_paths_are_those_of_nix() {
    for (path, text) in all() {
        let complete = parse(&path, text);
        let mut bare = complete.clone();
        for (name, output) in &mut bare.outputs {
            if matches!(output, Output::InputAddressed(_)) {
                *output = Output::Deferred;
            }
            bare.env.remove(name.as_bytes());
        }
        // The hashes of the inputs are computed during the run, and known beforehand.
        let hashes = DerivationHashes::new();
        let mut cold = bare.clone();
        cold.fill_output_paths(MODEL, &hashes, load).unwrap();
        assert_eq!(cold, complete);
        bare.fill_output_paths(MODEL, &hashes, |_| panic!("all inputs are known")).unwrap();
        assert_eq!(bare, complete);
    }
}

#[test]
fn json_is_that_of_nix() {
    let json = load(&StorePath::parse(FX.0).unwrap()).unwrap().to_json(MODEL).unwrap();
    insta::assert_snapshot!(json, @r#"{"args":[],"builder":"/bin/sh","env":{"builder":"/bin/sh","name":"fx","out":"/nix/store/v4da6pl4hwihm7pzvfn3xg26np3r6i68-fx","outputHash":"sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=","outputHashAlgo":"sha256","outputHashMode":"recursive","system":"x86_64-linux"},"inputDrvs":{},"inputSrcs":[],"name":"fx","outputs":{"out":{"hash":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","hashAlgo":"r:sha256","path":"/nix/store/v4da6pl4hwihm7pzvfn3xg26np3r6i68-fx"}},"system":"x86_64-linux"}"#);
}

#[test]
fn broken_text_is_refused() {
    let check = |text: &[u8]| {
        let name = StorePathName::new("x").unwrap();
        Derivation::from_aterm(MODEL, name, text).unwrap_err().to_string()
    };
    insta::assert_snapshot!(check(b"Derive"), @"the text of derivation `x` is not valid at byte 0: expected `Derive(`");
    insta::assert_snapshot!(check(br#"Derive([],[],[],"a","b",["\x"],[])"#), @r#"the text of derivation `x` is not valid at byte 26: expected an escape of n, r, t, `"` or `\`"#);
    insta::assert_snapshot!(check(br#"Derive([],[],[],"a","b",[],[("b",""),("a","")])"#), @"the text of derivation `x` is not valid at byte 30: expected the form eval and Nix write (sorted, no duplicates)");
    for text in all() {
        for cut in 0..text.1.len() {
            assert!(Derivation::from_aterm(MODEL, name_of_path(&text.0).unwrap(), &text.1[..cut]).is_err());
        }
    }
}

#[test]
fn deep_graphs_and_cycles_do_not_overflow() {
    let path = |n: u32| {
        let mut hash = [0; 20];
        hash[..4].copy_from_slice(&n.to_le_bytes());
        StorePath::new(hash, StorePathName::new("n.drv").unwrap())
    };
    let node = |n: u32, next: u32| {
        let mut derivation = load(&StorePath::parse(FX.0).unwrap()).unwrap();
        derivation.outputs = BTreeMap::from([("out".to_owned(), Output::Deferred)]);
        derivation.env.insert(b"n".to_vec(), n.to_string().into_bytes());
        if next != 0 {
            derivation.input_derivations.insert(path(next), BTreeSet::from(["out".to_owned()]));
        }
        derivation
    };
    let number = |path: &StorePath| u32::from_le_bytes(path.hash()[..4].try_into().unwrap());
    let depth = 20_000;
    let chain = |path: &StorePath| Ok(node(number(path), (number(path) + 1) % depth));
    DerivationHashes::new().insert(MODEL, &path(1), &node(1, 2), chain).unwrap();
    let ring = |path: &StorePath| Ok(node(number(path), 2 + (number(path) + 1) % 5));
    let error = DerivationHashes::new().insert(MODEL, &path(1), &node(1, 2), ring).unwrap_err();
    assert!(matches!(error, DerivationError::Cycle { .. }));
}

prop_compose! {
    fn bytes()(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'"'), Just(b'\\'), Just(b'\n')], 0..12)) -> Vec<u8> {
        bytes
    }
}

prop_compose! {
    fn store_path(suffix: &'static str)(hash: [u8; 20], name in "[a-z]{1,5}") -> StorePath {
        StorePath::new(hash, StorePathName::new(&format!("{name}{suffix}")).unwrap())
    }
}

fn output() -> impl Strategy<Value = Output> {
    let ingestion = || prop_oneof![Just(Ingestion::Flat), Just(Ingestion::Recursive), Just(Ingestion::Text)];
    prop_oneof![
        Just(Output::Deferred),
        store_path("").prop_map(Output::InputAddressed),
        (ingestion(), any::<[u8; 4]>())
            .prop_map(|(ingestion, seed)| Output::Fixed { ingestion, hash: HashAlgorithm::Sha512.hash(&seed) }),
        ingestion().prop_map(|ingestion| Output::Floating { ingestion, algorithm: HashAlgorithm::Blake3 }),
        ingestion().prop_map(|ingestion| Output::Impure { ingestion, algorithm: HashAlgorithm::Sha256 }),
    ]
}

prop_compose! {
    fn derivation()(
        outputs in prop::collection::btree_map("[a-z]{1,4}", output(), 0..4),
        input_derivations in prop::collection::btree_map(store_path(".drv"), prop::collection::btree_set("[a-z]{1,3}", 0..3), 0..4),
        input_sources in prop::collection::btree_set(store_path(""), 0..4),
        system in bytes(), builder in bytes(),
        args in prop::collection::vec(bytes(), 0..4),
        env in prop::collection::btree_map(bytes(), bytes(), 0..5),
    ) -> Derivation {
        let name = StorePathName::new("x").unwrap();
        Derivation { name, outputs, input_derivations, input_sources, system, builder, args, env }
    }
}

proptest! {
    #[test]
    fn round_trip(derivation in derivation()) {
        for model in [StoreModel::Native, StoreModel::Nix] {
            let text = derivation.to_aterm(model).unwrap();
            prop_assert_eq!(&Derivation::from_aterm(model, derivation.name.clone(), &text).unwrap(), &derivation);
        }
    }

    /// Code that tests many bytes at once escapes as one that tests them one by one.
    #[test]
    fn every_byte_is_escaped_by_itself(
        text in prop::collection::vec(prop_oneof![6 => any::<u8>(), 1 => Just(b'"'), 1 => Just(b'\\'), 2 => 0u8..0x20], 0..150),
        plain in "[ -!#-\\[\\]-~]{0,150}", at in 0usize..150,
    ) {
        let mixed = [&plain.as_bytes()[..at.min(plain.len())], &text].concat();
        for text in [&text[..], plain.as_bytes(), &mixed] {
            let mut expected = Vec::new();
            for &byte in text {
                match byte {
                    b'\n' => expected.extend_from_slice(b"\\n"),
                    b'\r' => expected.extend_from_slice(b"\\r"),
                    b'\t' => expected.extend_from_slice(b"\\t"),
                    b'"' | b'\\' => expected.extend_from_slice(&[b'\\', byte]),
                    _ => expected.push(byte),
                }
            }
            let mut written = Vec::new();
            aterm::escape(&mut written, text);
            prop_assert_eq!(written, expected);
        }
    }

    #[test]
    fn reading_never_panics(at in 0usize..800, byte: u8) {
        let mut text = A.1.to_vec();
        let at = at % text.len();
        text[at] = byte;
        let _ = Derivation::from_aterm(MODEL, StorePathName::new("a").unwrap(), &text);
    }
}
