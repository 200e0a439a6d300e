//! A Git server for tests: the part of protocol version 2 that fetching needs (`ls-refs` and
//! `fetch`, as in `gitprotocol-v2` and `gitformat-pack`), over HTTP, for a repository of this
//! machine. Every pack has all requested objects, even those that the client has already.

use gix::ObjectId;
use gix::objs::Kind;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use test_support::server::{Answer, Request, Server};

/// Serves the repositories of a directory, each under its name.
pub fn start(directory: &Path) -> Server {
    let directory = directory.to_owned();
    Server::start(move |request, _| answer(&directory, request))
}

/// Returns the answer of a server of the repositories in `directory`.
pub fn answer(directory: &Path, request: &Request) -> Answer {
    let (path, query) = request.path().split_once('?').unwrap_or((request.path(), ""));
    if let Some(moved) = path.strip_prefix("/moved/") {
        return Answer::new("301 Moved Permanently", b"").header(format!("Location: /{moved}?{query}"));
    }
    let repository = |service: &str| -> Option<gix::Repository> {
        let name = path.strip_suffix(service)?.trim_start_matches('/');
        gix::open_opts(directory.join(PathBuf::from(name)), gix::open::Options::isolated()).ok()
    };
    let version = request.header("git-protocol") == Some("version=2");
    if let Some(_found) = repository("/info/refs").filter(|_| version && query == "service=git-upload-pack") {
        let mut body = lines(&["# service=git-upload-pack\n"]);
        body.extend(b"0000");
        body.extend(lines(&["version 2\n", "ls-refs\n", "fetch=shallow\n", "object-format=sha1\n"]));
        body.extend(b"0000");
        return Answer::new("200 OK", &body).header("Content-Type: application/x-git-upload-pack-advertisement");
    }
    let Some(repository) = repository("/git-upload-pack") else { return Answer::new("404 Not Found", b"") };
    let asked = words(&request.body);
    let body = match asked.first().map(String::as_str) {
        Some("command=ls-refs") => refs(&repository),
        Some("command=fetch") => fetch(&repository, &asked),
        _ => return Answer::new("400 Bad Request", b""),
    };
    Answer::new("200 OK", &body).header("Content-Type: application/x-git-upload-pack-result")
}

/// Returns a line after its length.
pub fn line(text: &[u8]) -> Vec<u8> {
    [format!("{:04x}", text.len() + 4).as_bytes(), text].concat()
}

fn lines(texts: &[&str]) -> Vec<u8> {
    texts.iter().flat_map(|text| line(text.as_bytes())).collect()
}

/// Returns the lines of a request, without their line ends.
fn words(mut body: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    while let Some((length, rest)) = body.split_at_checked(4) {
        let length = usize::from_str_radix(&String::from_utf8_lossy(length), 16).expect("a length");
        let text = rest.get(..length.saturating_sub(4)).expect("a whole line");
        body = &rest[text.len()..];
        found.push(String::from_utf8_lossy(text).trim_end().to_owned());
    }
    found
}

fn refs(repository: &gix::Repository) -> Vec<u8> {
    let mut body = Vec::new();
    let head = repository.head().expect("it has a head");
    let name = head.referent_name().expect("it is a branch").as_bstr();
    body.extend(line(format!("{} HEAD symref-target:{name}\n", head.id().expect("it has a commit")).as_bytes()));
    for reference in repository.references().expect("references").all().expect("references") {
        let reference = reference.expect("a reference");
        body.extend(line(format!("{} {}\n", reference.id(), reference.name().as_bstr()).as_bytes()));
    }
    body.extend(b"0000");
    body
}

fn fetch(repository: &gix::Repository, asked: &[String]) -> Vec<u8> {
    let is_shallow = asked.iter().any(|word| word == "deepen 1");
    let mut objects = BTreeSet::new();
    let mut body = Vec::new();
    if !asked.iter().any(|word| word == "done") {
        body.extend(lines(&["acknowledgments\n", "ready\n"]));
        body.extend(b"0001");
    }
    if is_shallow {
        body.extend(lines(&["shallow-info\n"]));
    }
    for wanted in asked.iter().filter_map(|word| word.strip_prefix("want ")) {
        let id = ObjectId::from_hex(wanted.as_bytes()).expect("an object's name");
        if repository.find_commit(id).is_err() {
            return lines(&[&format!("ERR upload-pack: not our ref {wanted}\n")]);
        }
        if is_shallow {
            body.extend(line(format!("shallow {wanted}\n").as_bytes()));
        }
        gather(repository, id, is_shallow, &mut objects);
    }
    if is_shallow {
        body.extend(b"0001");
    }
    body.extend(lines(&["packfile\n"]));
    for part in pack(repository, &objects).chunks(1000) {
        body.extend(line(&[&[1], part].concat()));
    }
    body.extend(b"0000");
    body
}

fn gather(repository: &gix::Repository, commit: ObjectId, is_shallow: bool, objects: &mut BTreeSet<ObjectId>) {
    let mut commits = vec![commit];
    while let Some(id) = commits.pop() {
        let commit = repository.find_commit(id).expect("a commit");
        objects.insert(id);
        gather_tree(repository, commit.tree_id().expect("a tree").detach(), objects);
        commits.extend(commit.parent_ids().filter(|_| !is_shallow).map(gix::Id::detach));
    }
}

fn gather_tree(repository: &gix::Repository, tree: ObjectId, objects: &mut BTreeSet<ObjectId>) {
    if !objects.insert(tree) {
        return;
    }
    for entry in repository.find_tree(tree).expect("a tree").iter().map(|entry| entry.expect("an entry")) {
        match entry.mode().kind() {
            gix::objs::tree::EntryKind::Tree => gather_tree(repository, entry.object_id(), objects),
            gix::objs::tree::EntryKind::Commit => {}
            _ => drop(objects.insert(entry.object_id())),
        }
    }
}

/// Returns the header of an object in a pack: its kind, and its size, four bits in the first byte
/// and seven in each later one.
pub fn object_header(kind: u8, mut size: u64) -> Vec<u8> {
    let mut header = Vec::new();
    let mut byte = kind << 4 | (size & 15) as u8;
    size >>= 4;
    while size > 0 {
        header.push(byte | 0x80);
        byte = (size & 0x7f) as u8;
        size >>= 7;
    }
    header.push(byte);
    header
}

/// Appends the checksum that ends a pack.
pub fn sealed(mut pack: Vec<u8>) -> Vec<u8> {
    let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
    hasher.update(&pack);
    pack.extend(hasher.try_finalize().expect("no collision").as_slice());
    pack
}

/// Packs objects one after the other, each undeltified.
fn pack(repository: &gix::Repository, objects: &BTreeSet<ObjectId>) -> Vec<u8> {
    let mut pack = [&b"PACK"[..], &2u32.to_be_bytes(), &(objects.len() as u32).to_be_bytes()].concat();
    for id in objects {
        let object = repository.find_object(*id).expect("an object");
        let kind = match object.kind {
            Kind::Commit => 1,
            Kind::Tree => 2,
            Kind::Blob => 3,
            Kind::Tag => 4,
        };
        pack.extend(object_header(kind, object.data.len() as u64));
        let mut encoder = flate2::write::ZlibEncoder::new(&mut pack, flate2::Compression::default());
        encoder.write_all(&object.data).expect("memory can be written");
        encoder.finish().expect("memory can be written");
    }
    sealed(pack)
}
