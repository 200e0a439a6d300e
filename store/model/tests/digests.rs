//! Digests that must never change: stores and action caches hold them, and so will remote engines.
//!
//! A change of an encoding has to leave every line as it is, or say which of them it invalidates
//! and what is made again.

use model::reapi::{Action, Command, Platform};
use model::tree::{Digest, Directory, Node, SizedDigest};
use std::collections::BTreeMap;

fn file(text: &str, executable: bool) -> Node {
    Node::File { digest: Digest::of(text.as_bytes()), executable, size: text.len() as u64 }
}

fn link(target: &str) -> Node {
    Node::Symlink { target: target.into() }
}

fn directory(entries: &[(&[u8], Node)]) -> Directory {
    let mut directory = Directory::new();
    for (name, node) in entries {
        directory.insert(*name, node.clone()).unwrap();
    }
    directory
}

#[track_caller]
fn check(found: &[(&str, Digest)], pinned: &str) {
    let found: String = found.iter().map(|(name, digest)| format!("{digest} {name}\n")).collect();
    let pinned: String = pinned.trim().lines().map(|line| format!("{}\n", line.trim())).collect();
    assert_eq!(found, pinned);
}

#[test]
fn directories() {
    let below = directory(&[(b"a", file("a", false))]).node();
    let huge = Node::File { digest: Digest::of(b""), executable: false, size: u64::MAX };
    let long = [b'n'; 200];
    let forms: [(&str, Directory); 10] = [
        ("empty", Directory::new()),
        ("a file", directory(&[(b"a", file("text", false))])),
        ("an executable file", directory(&[(b"a", file("text", true))])),
        ("an empty file", directory(&[(b"a", file("", false))])),
        ("a huge file", directory(&[(b"a", huge)])),
        ("a directory", directory(&[(b"a", below.clone())])),
        ("an empty directory", directory(&[(b"a", Directory::new().node())])),
        ("a link", directory(&[(b"a", link("../b"))])),
        ("names that are long or no UTF-8", directory(&[(&long, link("x")), (b"\xff\x01", file("x", false))])),
        (
            "all in one",
            directory(&[
                (b"z", file("z", false)),
                (b"y", link("z")),
                (b"x", below),
                (b"B", file("b", true)),
                (b"A", link("B")),
            ]),
        ),
    ];
    let found: Vec<(&str, Digest)> = forms.iter().map(|(name, form)| (*name, Digest::of(&form.encode()))).collect();
    check(
        &found,
        "
        af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262 empty
        b7c3af152d364245e1115f8fee60e1dab7f5e9d6825c300df01daab9f6f5571b a file
        45e3e5ea129ed67c4ceae133f8724660086e96b518252b37e86b25d105543b53 an executable file
        a414f3ea3437ef6a50423cef96a0232dbf03eb4e8bd65624428381be9098951a an empty file
        a7a601369cd96e202c755bdf28cc426ac96af6efed2cc0663a67e9225b3b0b91 a huge file
        4a8c8b6e3e7c4b5d02e22e92dcd48242e48e31f7ee2b1d1fc274bfdd347fb260 a directory
        cdea16b13e7f50d4b5f82d1e07d88477b960d5854e0fb64fe683f02b6a038b2d an empty directory
        fa7e031990e17aefdf5312aa6fd64df5f0df39f02555641be834bef706728d14 a link
        21c2f6de87170e5ad7359887f1e2173eda1ec61a1c5b6b5d2f03b1dd74731502 names that are long or no UTF-8
        79cc1f2ff7281a68ed591ffee3f9d3486f9139b6b0f531b1e80dc903c2b7734b all in one
        ",
    );
}

#[test]
fn nodes() {
    let forms = [
        ("a file", file("text", false)),
        ("an executable file", file("text", true)),
        ("an empty file", file("", false)),
        ("a link", link("../b")),
        ("an empty directory", Directory::new().node()),
    ];
    let found: Vec<(&str, Digest)> = forms.iter().map(|(name, form)| (*name, Digest::of(&form.to_bytes()))).collect();
    check(
        &found,
        "
        03e800254dcda6629662b0254d48df6563514d907c9dd49ff8dc2e9d64f0599d a file
        e540a6e77b25e93cbb2a6c05a2a0586a40ccb527529cbf9b7c220641e9f31d06 an executable file
        9e7d7a3c3e3d9d618cbc85b138facc4d8cf7966a2ff8e4f3684c8754335c6d43 an empty file
        82222d459e08002456e9a55d1e9eb33c383a8c251cdc6593a049a7a4c6df323e a link
        e3e89cb5a0d8c6e01efdf2157d8d42b620570356245a2e09b515066fb185e22f an empty directory
        ",
    );
    let found: Vec<(&str, Digest)> = forms.iter().map(|(name, form)| (*name, form.fingerprint())).collect();
    check(
        &found,
        "
        03e800254dcda6629662b0254d48df6563514d907c9dd49ff8dc2e9d64f0599d a file
        e540a6e77b25e93cbb2a6c05a2a0586a40ccb527529cbf9b7c220641e9f31d06 an executable file
        9e7d7a3c3e3d9d618cbc85b138facc4d8cf7966a2ff8e4f3684c8754335c6d43 an empty file
        82222d459e08002456e9a55d1e9eb33c383a8c251cdc6593a049a7a4c6df323e a link
        af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262 an empty directory
        ",
    );
}

fn command() -> Command {
    Command {
        arguments: [&b"/bin/sh"[..], b"", b"-c", b"\xff"].map(<[u8]>::to_vec).to_vec(),
        environment: BTreeMap::from([
            (b"B".to_vec(), b"2".to_vec()),
            (b"A".to_vec(), Vec::new()),
            (b"\xfe".to_vec(), [b'x'; 300].to_vec()),
        ]),
        output_paths: vec!["output/out".into(), "output/dev".into()],
        working_directory: "build".into(),
    }
}

#[test]
fn commands() {
    let one = |edit: fn(&mut Command)| {
        let mut command = Command::default();
        edit(&mut command);
        Digest::of(&command.encode())
    };
    check(
        &[
            ("empty", Digest::of(&Command::default().encode())),
            ("arguments", one(|command| command.arguments = vec![b"a".to_vec(), Vec::new()])),
            ("environment", one(|command| command.environment = [(b"A".to_vec(), b"1".to_vec())].into())),
            ("nameless variable", one(|command| command.environment = [(Vec::new(), Vec::new())].into())),
            ("outputs", one(|command| command.output_paths = vec!["b".into(), "a".into(), String::new()])),
            ("working directory", one(|command| command.working_directory = "build".into())),
            ("all in one", Digest::of(&command().encode())),
        ],
        "
        af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262 empty
        c8bf2167258c9789c74ffef0e4468b288115319a3f646af56b01674ed633fec3 arguments
        2022aee30ed3563b68d73b3fd934e1b47a1a30139f73a57a35632f39b0a056b6 environment
        41783743cfe1d5555ed28285620aad3c925da3c904507b45a77ddb3ef80474e7 nameless variable
        a9ec69c042da6ba6f25cac9f715845c92c44f3d11d30b978c9c91f29a1af90c2 outputs
        5530c33c533ec50db2f7ed89f02f512026d7ab0c4e135c147d71f9c8120e3635 working directory
        07f57308ec7f396659a39965438662a98af7716767feb01f5dc7912e25c32d03 all in one
        ",
    );
}

fn action(command: &Command, input_root: &[u8], properties: &[(&str, &str)]) -> Digest {
    let properties = properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let (command, input_root) = (SizedDigest::of(&command.encode()), SizedDigest::of(input_root));
    Action { command, input_root, platform: Platform { properties } }.digest()
}

#[test]
fn actions() {
    let layout = ("eval-layout", "1");
    check(
        &[
            ("no platform", action(&Command::default(), b"root", &[])),
            ("an empty root", action(&command(), b"", &[layout])),
            ("all in one", action(&command(), &[7; 300], &[("system", "x86_64-linux"), ("a", ""), layout])),
        ],
        "
        dfaca775e542d54ca83521da557ce3d47d5fc494abbd6f9c08cd9d0f3636aedf no platform
        ae329b5ff0e7fa4738f2bcea19b641441519229e71af72ec87e9cfb02e5808f3 an empty root
        1c3ecf1339f5ec59ded961c5cb6e0c5ee447ccae54673741d880c804e83f4caf all in one
        ",
    );
}
