//! A hostile Git server and hostile repositories: each case ends in an error that names the
//! problem, nothing is written outside, nothing runs, and the next fetch from an honest server
//! works.

use crate::fetchers::{commit, with_repository};
use crate::git_server::{self, line, object_header, sealed};
use crate::workspace::Workspace;
use gix::ObjectId;
use gix::objs::tree::{Entry, EntryKind};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Output;
use test_support::server::{Answer, Request, Server};

const WRITTEN: &str = "the repository can be written";

/// Starts a server that changes the answers of an honest one.
fn meddling(directory: &Path, meddle: impl Fn(&Request, Answer) -> Answer + Send + Sync + 'static) -> Server {
    let directory = directory.to_owned();
    Server::start(move |request, _| meddle(request, git_server::answer(&directory, request)))
}

/// Evaluates `fetchGit` with the workspace's own cache.
fn fetch(workspace: &Workspace, url: &str, more: &str) -> Output {
    let expression = format!("(fetchGit {{ url = \"{url}\"; {more} }}).rev");
    let home = workspace.path().join("home");
    let mut command = workspace.command(["expr", "--impure", "--expr", &expression]);
    command.env("HOME", &home).env("XDG_CACHE_HOME", home.join(".cache")).output().expect("the program starts")
}

/// Asserts that a fetch ended with an error, and returns its text.
#[track_caller]
fn refused(case: &str, ran: &Output) -> String {
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(1), "{case}: {} {said}", ran.status);
    assert!(said.contains("error") && !said.contains("panicked"), "{case}: {said}");
    said
}

fn is_fetch(request: &Request) -> bool {
    request.body.windows(13).any(|bytes| bytes == b"command=fetch")
}

/// Frames pack data as a server sends it.
fn pack_answer(pack: &[u8]) -> Vec<u8> {
    let mut body = line(b"packfile\n");
    for part in pack.chunks(1000) {
        body.extend(line(&[&[1], part].concat()));
    }
    body.extend(b"0000");
    body
}

/// Makes a pack of one object whose header has the given size.
fn pack_of_one(kind: u8, size: u64, rest: &[u8]) -> Vec<u8> {
    let start = [&b"PACK"[..], &2u32.to_be_bytes(), &1u32.to_be_bytes()].concat();
    sealed([&start, object_header(kind, size).as_slice(), rest].concat())
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("memory can be written");
    encoder.finish().expect("memory can be written")
}

type Meddle = fn(&Request, Answer) -> Answer;

/// Answers of a dishonest server.
const ANSWERS: [(&str, Meddle); 21] = [
    ("an empty list of services", |request, answer| on_refs(request, answer, |_| Vec::new())),
    ("a list of services that is no list", |request, answer| on_refs(request, answer, |_| b"<html>".to_vec())),
    ("a line of a length that is no number", |request, answer| on_refs(request, answer, |_| b"zzzzoops".to_vec())),
    ("a line longer than what follows", |request, answer| on_refs(request, answer, |_| b"ffffshort".to_vec())),
    ("a line of a length below its own", |request, answer| on_refs(request, answer, |_| b"0003".to_vec())),
    ("another protocol's first version", |request, answer| {
        on_refs(request, answer, |_| {
            [line(b"# service=git-upload-pack\n"), b"0000".to_vec(), line(b"version 9\n")].concat()
        })
    }),
    ("names that leave the directory of names", |request, answer| {
        on_names(request, answer, &["refs/heads/../../../../escaped", "../escaped"])
    }),
    ("names with control characters", |request, answer| on_names(request, answer, &["refs/heads/a\u{1b}]0;x\u{7}"])),
    ("a hundred thousand names and none that is wanted", |request, mut answer| {
        if request.body.windows(15).any(|bytes| bytes == b"command=ls-refs") {
            let id = "1".repeat(40);
            let lines = (0..100_000).flat_map(|number| line(format!("{id} refs/heads/{number}\n").as_bytes()));
            answer.body = lines.chain(*b"0000").collect();
        }
        answer
    }),
    ("no pack", |request, answer| on_fetch(request, answer, |_| b"0000".to_vec())),
    ("a pack that ends early", |request, answer| on_fetch(request, answer, |body| body[..body.len() - 60].to_vec())),
    ("a pack whose sum is wrong", |request, answer| {
        on_fetch(request, answer, |mut body| {
            let end = body.len() - 5;
            body[end] ^= 1;
            body
        })
    }),
    ("a pack of four billion objects", |request, answer| {
        on_fetch(request, answer, |_| {
            pack_answer(&sealed([&b"PACK"[..], &2u32.to_be_bytes(), &u32::MAX.to_be_bytes()].concat()))
        })
    }),
    ("an object of 2^50 bytes", |request, answer| {
        on_fetch(request, answer, |_| pack_answer(&pack_of_one(3, 1 << 50, &deflated(b"x"))))
    }),
    ("an object of 2^62 bytes", |request, answer| {
        on_fetch(request, answer, |_| pack_answer(&pack_of_one(3, 1 << 62, &deflated(b"x"))))
    }),
    ("an object larger than it says", |request, answer| {
        on_fetch(request, answer, |_| pack_answer(&pack_of_one(3, 1, &deflated(&vec![0; 1 << 20]))))
    }),
    ("an object of a kind that there is not", |request, answer| {
        on_fetch(request, answer, |_| pack_answer(&pack_of_one(5, 1, &deflated(b"x"))))
    }),
    ("a difference to an object before the pack", |request, answer| {
        let rest = [&[0xff, 0xff, 0x7f][..], &deflated(b"\x01\x01\x01x")].concat();
        on_fetch(request, answer, |_| pack_answer(&pack_of_one(6, 4, &rest)))
    }),
    ("a difference to an object that is not there", |request, answer| {
        let rest = [&[0x11; 20][..], &deflated(b"\x01\x01\x01x")].concat();
        on_fetch(request, answer, |_| pack_answer(&pack_of_one(7, 4, &rest)))
    }),
    ("a pack without what was asked for", |request, answer| {
        on_fetch(request, answer, |_| pack_answer(&pack_of_one(3, 1, &deflated(b"x"))))
    }),
    ("an error with control characters", |request, answer| {
        on_fetch(request, answer, |_| {
            [line(b"packfile\n"), line(b"\x03\x1b]0;owned\x07\xc2\x9b31m"), b"0000".to_vec()].concat()
        })
    }),
];

fn on_refs(request: &Request, mut answer: Answer, change: impl Fn(Vec<u8>) -> Vec<u8>) -> Answer {
    if request.path().contains("/info/refs") {
        answer.body = change(answer.body);
    }
    answer
}

fn on_fetch(request: &Request, mut answer: Answer, change: impl Fn(Vec<u8>) -> Vec<u8>) -> Answer {
    if is_fetch(request) {
        answer.body = change(answer.body);
    }
    answer
}

/// Announces the head's commit under other names only.
fn on_names(request: &Request, mut answer: Answer, names: &[&str]) -> Answer {
    if request.body.windows(15).any(|bytes| bytes == b"command=ls-refs") {
        let id = String::from_utf8_lossy(&answer.body[4..44]).into_owned();
        let lines = names.iter().flat_map(|name| line(format!("{id} {name}\n").as_bytes()));
        answer.body = lines.chain(*b"0000").collect();
    }
    answer
}

#[test]
fn answers_of_every_kind_end_in_an_error() {
    for (case, meddle) in ANSWERS {
        let (workspace, rev) = with_repository();
        let honest = git_server::start(workspace.path());
        let server = meddling(workspace.path(), meddle);
        let said = refused(case, &fetch(&workspace, &server.url("/repository"), ""));
        assert!(!said.chars().any(model::terminal::is_active), "{case}: {}", said.escape_debug());
        let escaped = [
            "escaped",
            "home/escaped",
            "home/.cache/escaped",
            "home/.cache/eval/escaped",
            "home/.cache/eval/git/escaped",
        ];
        assert!(escaped.iter().all(|name| !workspace.path().join(name).exists()), "{case}");
        // By the same URL as before, in case the cache is keyed by the URL.
        let after = fetch(&workspace, &honest.url("/repository"), "");
        assert!(
            String::from_utf8_lossy(&after.stdout).contains(&rev),
            "{case}: {}",
            String::from_utf8_lossy(&after.stderr)
        );
    }
}

#[test]
fn a_commit_is_the_requested_one() {
    let (workspace, _) = with_repository();
    let wanted = "1".repeat(40);
    // Accepts every request, and sends its own commit.
    let server = meddling(workspace.path(), |request, answer| {
        on_fetch(request, answer, |_| pack_answer(&pack_of_one(3, 1, &deflated(b"x"))))
    });
    for more in [format!("rev = \"{wanted}\";"), format!("rev = \"{wanted}\"; shallow = true;")] {
        let said = refused(&more, &fetch(&workspace, &server.url("/repository"), &more));
        assert!(said.contains(&wanted), "{said}");
    }
}

#[test]
fn redirects_lead_to_servers_only() {
    let (workspace, _) = with_repository();
    let here = workspace.path().display().to_string();
    for target in [format!("file://{here}/repository"), "ext::sh -c true".into(), "ssh://-oProxyCommand=true/x".into()]
    {
        let location = format!("Location: {target}/info/refs?service=git-upload-pack");
        let server = Server::start(move |_, _| Answer::new("302 Found", b"").header(location.clone()));
        refused(&target, &fetch(&workspace, &server.url("/repository"), ""));
    }
    let server =
        Server::start(move |request, _| Answer::new("302 Found", b"").header(format!("Location: {}", request.path())));
    refused("a circle", &fetch(&workspace, &server.url("/repository"), ""));
}

/// Makes a bare repository at `name` whose head has the entries that `fill` makes in it.
fn repository(workspace: &Workspace, name: &str, fill: impl FnOnce(&gix::Repository) -> Vec<Entry>) -> ObjectId {
    let directory = workspace.path().join(name);
    let repository = gix::init_bare(&directory).expect("a repository can be made");
    let entries = fill(&repository);
    let tree = repository.write_object(gix::objs::Tree { entries }).expect(WRITTEN).detach();
    let commit = commit(&repository, tree, None, 1_000_000_000);
    fs::create_dir_all(directory.join("refs/heads")).expect(WRITTEN);
    fs::write(directory.join("HEAD"), "ref: refs/heads/main\n").expect(WRITTEN);
    fs::write(directory.join("refs/heads/main"), format!("{commit}\n")).expect(WRITTEN);
    commit
}

fn entry(name: &str, kind: EntryKind, oid: ObjectId) -> Entry {
    Entry { mode: kind.into(), filename: name.into(), oid }
}

/// Makes a repository with a submodule at `inner`, described by the lines of its section.
fn with_submodule(workspace: &Workspace, name: &str, section: &str, inner: ObjectId) -> ObjectId {
    repository(workspace, name, |repository| {
        let modules = repository.write_blob(format!("[submodule \"inner\"]\n{section}")).expect(WRITTEN).detach();
        vec![entry(".gitmodules", EntryKind::Blob, modules), entry("inner", EntryKind::Commit, inner)]
    })
}

#[test]
fn submodules_of_a_server_name_servers_only_and_run_nothing() {
    let workspace = Workspace::with_own_store("");
    let here = workspace.path().to_owned();
    let server = git_server::start(workspace.path());
    let inner = ObjectId::from_hex(&[b'1'; 40]).expect("a name of an object");
    let marker = here.join("ran").display().to_string();
    let sections = [
        format!("\tpath = inner\n\turl = ext::sh -c 'touch {marker}'\n"),
        format!("\tpath = inner\n\turl = \"--upload-pack=touch {marker}\"\n"),
        format!("\tpath = inner\n\turl = \"-u touch {marker}\"\n"),
        format!("\tpath = inner\n\turl = \"ssh://-oProxyCommand=touch {marker}/x\"\n"),
        format!("\tpath = inner\n\turl = \"ssh://a@-oProxyCommand=touch {marker}/x\"\n"),
        format!("\tpath = inner\n\turl = file://{}\n", here.display()),
        format!("\tpath = inner\n\turl = {}\n", here.display()),
        "\tpath = inner\n\turl = ../../../../../../../etc\n".to_owned(),
        format!("\tpath = inner\n\turl = ../none\n\tupdate = \"!touch {marker}\"\n"),
        "\tpath = elsewhere\n\turl = ../none\n".to_owned(),
        "\tpath = inner\n".to_owned(),
        "\tpath = inner\n\turl = ../none".to_owned() + &"\n[submodule \"inner\"]\n\tpath = ../../out".repeat(2),
        "\tpath = inner\n\turl = ../none\n[include]\n\tpath = /etc/passwd\n".to_owned(),
        "no configuration at all [".to_owned(),
    ];
    for (number, section) in sections.iter().enumerate() {
        let name = format!("outer{number}");
        with_submodule(&workspace, &name, section, inner);
        refused(section, &fetch(&workspace, &server.url(&format!("/{name}")), "submodules = true;"));
        assert!(!Path::new(&marker).exists(), "{section}");
    }
}

#[test]
fn repositories_nest_to_a_bound() {
    let workspace = Workspace::with_own_store("");
    let server = git_server::start(workspace.path());
    let mut inner = repository(&workspace, "nested0", |_| Vec::new());
    for number in 1..=40 {
        let section = format!("\tpath = inner\n\turl = ../nested{}\n", number - 1);
        inner = with_submodule(&workspace, &format!("nested{number}"), &section, inner);
    }
    let said = refused("forty", &fetch(&workspace, &server.url("/nested40"), "submodules = true;"));
    assert!(said.contains("is nested in 32 repositories"), "{said}");
    let ran = fetch(&workspace, &server.url("/nested30"), "submodules = true;");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

/// Nine small trees that expand to a thousand million files.
#[test]
fn trees_that_name_each_other_often_are_counted_before_they_are_written() {
    let workspace = Workspace::with_own_store("");
    let server = git_server::start(workspace.path());
    let often = |kind: EntryKind, oid: ObjectId| (0..10).map(|digit| entry(&digit.to_string(), kind, oid)).collect();
    repository(&workspace, "bomb", |repository| {
        let file = repository.write_blob("").expect(WRITTEN).detach();
        let mut entries: Vec<Entry> = often(EntryKind::Blob, file);
        for _ in 0..8 {
            let tree = repository.write_object(gix::objs::Tree { entries }).expect(WRITTEN).detach();
            entries = often(EntryKind::Tree, tree);
        }
        entries
    });
    for more in ["", "exportIgnore = false;"] {
        let said = refused(more, &fetch(&workspace, &server.url("/bomb"), more));
        assert!(said.contains("1111111110 files and directories"), "{said}");
    }
}
