//! A full disk can be recovered: large writers stop before the last space is gone, readers work or
//! say what to do, and `store gc` needs no free byte.
//!
//! The disk is a small file system in memory, in the test's own user and mount namespaces.

use crate::fetchers::commit;
use crate::git_server;
use crate::workspace::{PROGRAM, Workspace};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use test_support::server::{Answer, Server};

const TOYS: &str = r#"
let inherit (import ./prelude.nix) write; in
{
  app = write { name = "app"; files."bin/app".text = "app"; };
  other = write { name = "other"; files.x.text = "other"; };
}
"#;

/// Functions of a session's shell: `ev` runs the program and prints its words, status and outputs;
/// `quiet` only reports a failure; `fill` writes until nothing is free; `free` prints the number of
/// free bytes.
const SHELL: &str = r#"
ev() { rc=0; "$EV" "$@" >"$OUT" 2>"$ERR" || rc=$?; echo "== $*: $rc"; cat "$OUT" "$ERR"; }
quiet() { "$EV" "$@" >"$OUT" 2>"$ERR" || { echo "FAILED $*"; cat "$OUT" "$ERR"; }; }
fill() { cat /dev/zero >"$1/fill" 2>/dev/null || true; }
free() { echo $(($(stat -f -c '%a*%S' "$1"))); }
small() { mkdir -p "$1"; mount -t tmpfs -o size="$2" small "$1"; }
"#;

/// Runs a script with these functions in a mount namespace; returns its output.
fn session(workspace: &Workspace, script: &str) -> String {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-e", "-u", "-c"]).arg(format!("{SHELL}\n{script}"));
    let mut command = workspace.prepare(command, [] as [&str; 0]);
    for (name, file) in [("OUT", "out"), ("ERR", "err"), ("XDG_CACHE_HOME", "home-cache"), ("HOME", "home")] {
        command.env(name, workspace.path().join(file));
    }
    let ran = command.env("EV", PROGRAM).output().expect("`unshare` is installed");
    workspace.text(&ran)
}

/// Returns the output of one command of a session.
#[track_caller]
fn part<'t>(text: &'t str, command: &str) -> &'t str {
    let start = text.find(&format!("== {command}: ")).unwrap_or_else(|| panic!("`{command}` did not run:\n{text}"));
    let rest = &text[start + 3..];
    rest.split("\n== ").next().unwrap_or(rest)
}

#[track_caller]
fn number(text: &str, name: &str) -> u64 {
    let rest = text.split(&format!("{name}=")).nth(1).unwrap_or_else(|| panic!("no `{name}` in\n{text}"));
    rest.split_whitespace().next().and_then(|digits| digits.parse().ok()).expect("a number follows")
}

/// A store of 48 MiB with 20 MiB of garbage, filled to the last byte.
const FULL: &str = "small store 48m
quiet build -f default.nix app
quiet store add garbage
fill store
echo free=$(free store)
";

fn with_garbage() -> Workspace {
    let workspace = Workspace::with_own_store(TOYS);
    fs::write(workspace.path().join("garbage"), vec![b'x'; 20 << 20]).expect("the workspace can be written");
    workspace
}

#[test]
fn collecting_needs_no_free_byte() {
    let workspace = with_garbage();
    let text = session(
        &workspace,
        &format!(
            "{FULL}ev store gc\necho after=$(free store)\nev store verify\nrm store/fill\nev store add garbage\nev build -f default.nix other --no-link\n\
             stat -c 'reserve=%s blocks=%b' store/db/reserve"
        ),
    );
    assert_eq!(number(&text, "free"), 0, "{text}");
    assert!(part(&text, "store gc").starts_with("store gc: 0\n"), "{text}");
    assert!(part(&text, "store gc").contains("-garbage\n"), "{text}");
    assert!(number(&text, "after") >= 18 << 20, "{text}");
    for command in ["store verify", "store add garbage", "build -f default.nix other --no-link"] {
        assert!(part(&text, command).starts_with(&format!("{command}: 0\n")), "{text}");
    }
    // The reserve is taken again, and is not sparse.
    assert_eq!(number(&text, "reserve"), (48 << 20) / 32, "{text}");
    assert_eq!(number(&text, "blocks"), (48 << 20) / 32 / 512, "{text}");
}

/// Even if the collector is the first to open the database since the disk is full, and a second
/// time in a row.
#[test]
fn collecting_again_and_again_needs_no_free_byte() {
    let workspace = with_garbage();
    let text = session(
        &workspace,
        &format!(
            "{FULL}ev store gc\nfill store\necho again=$(free store)\nev store gc\nrm -f result\nev store gc --keep-logs 0\n"
        ),
    );
    assert_eq!(number(&text, "again"), 0, "{text}");
    assert_eq!(text.matches("== store gc: 0\n").count(), 2, "{text}");
    assert!(part(&text, "store gc --keep-logs 0").contains("-app\n"), "{text}");
    assert!(part(&text, "store gc --keep-logs 0").contains("; 0 paths with 0 B stay"), "{text}");
}

/// Paths printed as removed are gone, even if the collection does not finish.
#[test]
fn paths_reported_as_removed_are_gone() {
    let workspace = with_garbage();
    workspace.write("more", "more garbage");
    // A mount point cannot be removed.
    let text = session(
        &workspace,
        "small store 48m
         quiet build -f default.nix app
         for name in garbage more; do quiet store add $name; done
         for object in store/store/*-garbage store/store/*-more; do mount --bind $object $object; done
         ev store gc
         ls store/store
         umount store/store/*-more
         ev store gc --keep-logs 1
         umount store/store/*-garbage
         ev store gc --keep-logs 2
         ev store verify",
    );
    let gc = part(&text, "store gc");
    assert!(gc.starts_with("store gc: 1\n"), "{text}");
    assert!(!gc.contains("/[HASH]-garbage\n") || !gc.contains("/[HASH]-more\n"), "both are there:\n{text}");
    for name in ["garbage", "more"] {
        let is_there = gc.lines().any(|line| line == format!("[HASH]-{name}"));
        let is_reported = gc.lines().any(|line| line == format!("[STORE]/store/[HASH]-{name}"));
        assert!(is_there != is_reported, "{name}:\n{text}");
    }
    // It is left over, and removed once that is possible.
    assert!(part(&text, "store gc --keep-logs 2").starts_with("store gc --keep-logs 2: 0\n"), "{text}");
    assert!(part(&text, "store verify").starts_with("store verify: 0\n"), "{text}");
}

/// Readers work on a disk without a free byte; writers say what to do.
#[test]
fn every_command_on_a_full_disk() {
    let works = ["path-info ./result", "store verify", "store gc --dry-run", "expr --expr 1+1", "log ./result"];
    let says = [
        "store add garbage2",
        "build -f default.nix other --no-link",
        "instantiate -f default.nix other",
        "store rebuild-db",
        "store verify --repair",
        "build -f default.nix app --no-link",
    ];
    let workspace = with_garbage();
    workspace.write("garbage2", "another");
    let all: String = works.iter().chain(&says).map(|words| format!("ev {words}\n")).collect();
    let text = session(&workspace, &format!("{FULL}{all}ev store gc\nev store verify\nev path-info ./result\n"));
    for words in works {
        let said = part(&text, words);
        // A missing log is reported on any disk.
        assert!(said.starts_with(&format!("{words}: 0\n")) || words.starts_with("log"), "{said}\n\nof\n{text}");
    }
    for words in says {
        let said = part(&text, words);
        let succeeded = said.starts_with(&format!("{words}: 0\n"));
        assert!(succeeded || said.contains("`ev store gc`"), "{said}\n\nof\n{text}");
        assert!(!said.contains("panicked"), "{said}");
    }
    for words in ["store gc", "path-info ./result"] {
        assert!(text.contains(&format!("== {words}: 0\n")), "{text}");
    }
}

/// Makes a tar of one file of zeros, compressed by gzip.
fn bomb(path: &Path, bytes: u64) {
    let mut header = [0u8; 512];
    header[..4].copy_from_slice(b"zero");
    header[100..108].copy_from_slice(b"0000644\0");
    header[124..136].copy_from_slice(format!("{bytes:011o}\0").as_bytes());
    header[148..156].fill(b' ');
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&header).expect("memory can be written");
    for _ in 0..bytes >> 20 {
        packed.write_all(&vec![0; 1 << 20]).expect("memory can be written");
    }
    packed.write_all(&[0; 1024]).expect("memory can be written");
    fs::write(path, packed.finish().expect("memory can be written")).expect("the workspace can be written");
}

/// Starts a server whose file never ends, or not before 200 MiB, without a length; with `?length`
/// it sends one.
fn endless() -> Server {
    Server::start(|request, _| {
        let answer = Answer::new("200 OK", &vec![b'x'; 200 << 20]);
        if request.path().contains("length") {
            return answer;
        }
        let length = answer.body.len();
        Answer { close_after: Some(length), ..answer.header("Transfer-Encoding: identity") }
    })
}

const HASH: &str = "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// Each ends with an error that names the free space, the reserve, the path and the next step; and
/// leaves the reserve.
#[test]
fn writers_stop_before_the_disk_is_full() {
    let server = endless();
    let workspace = Workspace::with_own_store("");
    fs::write(workspace.path().join("large"), vec![b'x'; 64 << 20]).expect("the workspace can be written");
    bomb(&workspace.path().join("bomb.tar.gz"), 128 << 20);
    let place = workspace.path().display();
    let recipe = |name: &str, attributes: &str| {
        workspace.write(
            &format!("{name}.nix"),
            &format!("derivation {{ name = \"{name}\"; system = \"builtin\"; {attributes} }}"),
        );
    };
    let fetch = |url: &str| {
        format!(
            "builder = \"builtin:fetchurl\"; url = \"{url}\"; outputHash = \"{HASH}\"; outputHashAlgo = \"sha256\"; outputHashMode = \"flat\";"
        )
    };
    recipe("endless", &fetch(&server.url("/endless")));
    recipe("sized", &fetch(&server.url("/sized?length")));
    recipe("local", &fetch(&format!("file://{place}/large")));
    recipe("bomb", "builder = \"builtin:unpack\"; srcs = [ \"${./bomb.tar.gz}\" ];");
    for (name, expression) in [
        ("tarball", format!("fetchTarball \"file://{place}/bomb.tar.gz\"")),
        ("file", format!("builtins.fetchurl \"{}\"", server.url("/eval"))),
        ("path", "builtins.path { path = ./large; name = \"large\"; }".to_owned()),
    ] {
        workspace.write(&format!("{name}.nix"), &expression);
    }
    let text = session(
        &workspace,
        "small store 48m
         small home-cache 32m
         quiet store verify
         for name in endless sized local bomb; do
           ev build -f $name.nix --no-link
           echo \"$name=$(free store)\"
           ls store/tmp/partial 2>/dev/null || true
         done
         for name in tarball file; do
           ev expr --impure -f $name.nix
           echo \"$name=$(free home-cache)\"
         done
         ev expr --impure -f path.nix
         echo path=$(free store)
         ev store add large
         echo add=$(free store)
         ev store gc
         echo gc=$(free store)
         ev store verify",
    );
    let kept = (48 << 20) / 50;
    for name in ["endless", "sized", "local", "bomb"] {
        let said = part(&text, &format!("build -f {name}.nix --no-link"));
        assert!(said.contains("not enough space for "), "{said}\n\nof\n{text}");
        assert!(said.contains(" are free where `[STORE]") && said.contains("are kept so that"), "{said}");
        assert!(said.contains("`ev store gc`") && said.contains("EVAL_ROOT"), "{said}");
        assert!(number(&text, name) >= kept, "{name} left too little:\n{text}");
        assert!(!said.contains(".part"), "an unfinished download stays:\n{text}");
    }
    for name in ["tarball", "file"] {
        let said = part(&text, &format!("expr --impure -f {name}.nix"));
        assert!(said.contains("not enough space for "), "{said}\n\nof\n{text}");
        assert!(number(&text, name) >= (32 << 20) / 50, "{name} left too little:\n{text}");
    }
    assert!(part(&text, "expr --impure -f tarball.nix").contains("XDG_CACHE_HOME"), "{text}");
    for (words, name) in [("expr --impure -f path.nix", "path"), ("store add large", "add")] {
        assert!(part(&text, words).contains("not enough space for "), "{text}");
        assert!(number(&text, name) >= kept, "{text}");
    }
    // All files are gone again.
    assert!(number(&text, "gc") > 40 << 20, "{text}");
    assert!(part(&text, "store verify").starts_with("store verify: 0"), "{text}");
}

/// Makes a repository with one large file, and returns its revision.
fn large_repository(directory: &Path, content: &[u8]) -> String {
    let repository = gix::init(directory).expect("a repository can be made");
    let blob = repository.write_blob(content).expect("objects can be written").detach();
    let mode = gix::objs::tree::EntryKind::Blob.into();
    let entry = gix::objs::tree::Entry { mode, filename: "large".into(), oid: blob };
    let tree = repository.write_object(gix::objs::Tree { entries: vec![entry] }).expect("objects can be written");
    let commit = commit(&repository, tree.detach(), None, 1_000_000_000);
    let heads = directory.join(".git/refs/heads");
    fs::create_dir_all(&heads).expect("the repository can be written");
    fs::write(heads.join("main"), format!("{commit}\n")).expect("the repository can be written");
    commit.to_string()
}

/// Covers the bytes that a Git server sends, and the files of a commit that compress well.
#[test]
fn repositories_that_do_not_fit() {
    let workspace = Workspace::with_own_store("");
    let mut state = 1u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .take(1 << 20)
    .flatten()
    .collect();
    let sent = large_repository(&workspace.path().join("sent"), &noise);
    let packed = large_repository(&workspace.path().join("packed"), &vec![0; 12 << 20]);
    let server = git_server::start(workspace.path());
    for (name, url, rev) in [
        ("sent", server.url("/sent"), sent),
        ("packed", format!("file://{}/packed", workspace.path().display()), packed),
    ] {
        let expression = format!("(builtins.fetchGit {{ url = \"{url}\"; rev = \"{rev}\"; shallow = true; }}).outPath");
        workspace.write(&format!("{name}.nix"), &expression);
    }
    let text = session(
        &workspace,
        "small home-cache 6m
         for name in sent packed; do
           ev expr --impure -f $name.nix
           echo \"$name=$(free home-cache)\"
         done",
    );
    for name in ["sent", "packed"] {
        let said = part(&text, &format!("expr --impure -f {name}.nix"));
        assert!(!said.contains(".nix: 0\n") && said.contains("not enough space for "), "{said}\n\nof\n{text}");
        // With the files that Git itself writes beside it, without a check.
        assert!(number(&text, name) >= (6 << 20) / 100, "{name} left too little:\n{text}");
    }
}
