use super::union::{Layer, Overlap, Union};
use super::*;
use insta::assert_snapshot;
use proptest::prelude::*;

/// Makes a tree of a text: lines `path`, `path/` (a directory), `path -> target`, `path = content`,
/// `path * content` (executable).
fn tree(directories: &MemoryDirectories, text: &str) -> Node {
    fn make(directories: &MemoryDirectories, lines: &[(Vec<&str>, Node)]) -> Node {
        let mut groups: BTreeMap<&str, Vec<(Vec<&str>, Node)>> = BTreeMap::new();
        for (path, node) in lines {
            if let Some((first, rest)) = path.split_first() {
                groups.entry(first).or_default().push((rest.to_vec(), node.clone()));
            }
        }
        let mut directory = Directory::new();
        for (name, lines) in groups {
            let leaf = lines.iter().find(|(rest, node)| rest.is_empty() && !node.is_directory());
            let node = leaf.map_or_else(|| make(directories, &lines), |(_, node)| node.clone());
            directory.insert(name, node).unwrap();
        }
        directories.save(&directory).unwrap()
    }
    let file = |content: &str, executable| Node::File {
        digest: Digest::of(content.as_bytes()),
        executable,
        size: content.len() as u64,
    };
    let lines: Vec<(Vec<&str>, Node)> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (path, node) = if let Some((path, target)) = line.split_once(" -> ") {
                (path, Node::Symlink { target: target.as_bytes().to_vec() })
            } else if let Some(path) = line.strip_suffix(" =") {
                (path, file("", false))
            } else if let Some((path, content)) = line.split_once(" = ") {
                (path, file(content, false))
            } else if let Some((path, content)) = line.split_once(" * ") {
                (path, file(content, true))
            } else if let Some(path) = line.strip_suffix('/') {
                (path, Directory::new().node())
            } else {
                (line, file(line, false))
            };
            (path.split('/').collect(), node)
        })
        .collect();
    make(directories, &lines)
}

fn print(directories: &MemoryDirectories, root: &Node) -> String {
    let mut text = Vec::new();
    walk::walk::<TreeError>(directories, root, |path, node| {
        let path = String::from_utf8_lossy(path);
        match node {
            Node::File { digest, executable, .. } => {
                text.push(format!("{path} {}{}", if *executable { "* " } else { "" }, &digest.hex()[..4]));
            }
            Node::Symlink { target } => text.push(format!("{path} -> {}", String::from_utf8_lossy(target))),
            Node::Directory { digest, .. } => {
                if directories.load(digest)?.is_empty() {
                    text.push(format!("{path}/"));
                }
            }
        }
        Ok(true)
    })
    .unwrap();
    text.join("\n")
}

#[track_caller]
fn check(layers: &[&str], overlap: &str) -> String {
    let directories = MemoryDirectories::new();
    let layers: Vec<Layer> = layers
        .iter()
        .enumerate()
        .map(|(i, text)| Layer { root: tree(&directories, text), owner: format!("tree {i}") })
        .collect();
    match union::union(&directories, &layers, &Overlap::parse(overlap).unwrap()) {
        Ok(Union { root, redirected }) => {
            format!("{}{}", if redirected { "redirected\n" } else { "" }, print(&directories, &root))
        }
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn directories_and_identical_files_merge() {
    assert_snapshot!(check(&["a/x = 1\na/y\nl -> a", "a/x = 1\na/z\nb/\nl -> a"], ""), @"
    a/x d63b
    a/y 7bd9
    a/z a4b7
    b/
    l -> a
    ");
    assert_snapshot!(check(&[], ""), @"/");
}

#[test]
fn a_link_to_a_directory_is_treated_as_that_directory() {
    assert_snapshot!(check(&["lib -> usr/lib\nusr/lib/a = 1", "lib/b = 1\nlib/d/e = 1", "usr/lib/d/f = 1"], ""), @"
    redirected
    lib -> usr/lib
    usr/lib/a d63b
    usr/lib/b d63b
    usr/lib/d/e d63b
    usr/lib/d/f d63b
    ");
    // The directory comes before the link, the link is absolute, the directory it leads to is in a
    // third tree.
    assert_snapshot!(check(&["lib/b = 1", "lib -> /usr/lib", "usr/lib/a = 1"], ""), @"
    redirected
    lib -> /usr/lib
    usr/lib/a d63b
    usr/lib/b d63b
    ");
    // A link within the moved directory, and a link in its target's parent path.
    assert_snapshot!(check(&["lib -> usr/lib\nusr -> system/usr\nsystem/usr/lib/a = 1", "lib/b = 1\nlib/l -> b", "usr/lib/c/d = 1\nlib/c/e = 1"], ""), @"
    redirected
    lib -> usr/lib
    system/usr/lib/a d63b
    system/usr/lib/b d63b
    system/usr/lib/c/d d63b
    system/usr/lib/c/e d63b
    system/usr/lib/l -> b
    usr -> system/usr
    ");
    // Moved twice: a link at `b` meets the directory that moves there.
    assert_snapshot!(check(&["a -> b\nb/x/k = 1\nc/k2 = 1", "a/x -> ../c", "a/x/m = 1"], ""), @"
    redirected
    a -> b
    b/x -> ../c
    c/k d63b
    c/k2 d63b
    c/m d63b
    ");
    // Two links to the same directory.
    assert_snapshot!(check(&["l -> d\nd/x = 1", "l -> ./d"], ""), @"
    redirected
    d/x d63b
    l -> ./d
    ");
}

#[test]
fn conflicts_name_path_and_owners() {
    assert_snapshot!(check(&["a = 1", "a = 1\nb/c = 1", "a = 2\nb/c * 1"], ""), @"error: the trees do not fit over each other: `a` is a file in tree 0 and a different file in tree 2; `b/c` is a file in tree 1 and an executable file in tree 2 (add a path to `__overlap` to let the later tree win there)");
    assert_snapshot!(check(&["a -> nowhere", "a/b = 1"], ""), @"error: the trees do not fit over each other: `a` is a symbolic link to `nowhere` in tree 0 and a directory in tree 1 (add a path to `__overlap` to let the later tree win there)");
    assert_snapshot!(check(&["a -> b\nb -> a", "a/b = 1"], ""), @"error: the trees do not fit over each other: `a` is a symbolic link to `b` in tree 0 and a directory in tree 1 (add a path to `__overlap` to let the later tree win there)");
    assert_snapshot!(check(&["lib -> usr/lib\nusr/lib/a = 1", "lib/a = 2"], ""), @"error: the trees do not fit over each other: `usr/lib/a` is a file in tree 0 and a different file in tree 1 (add a path to `__overlap` to let the later tree win there)");
    assert_snapshot!(check(&["l -> a\na/\nb/", "l -> b"], ""), @"error: the trees do not fit over each other: `l` is a symbolic link to `a` in tree 0 and a different symbolic link to `b` in tree 1 (add a path to `__overlap` to let the later tree win there)");
}

#[test]
fn later_trees_win_where_they_may_overlap() {
    assert_snapshot!(check(&["a = 1\nb/c = 1", "a = 2", "b/c * 1"], "** nothing"), @"
    a 813e
    b/c * d63b
    ");
    assert_snapshot!(check(&["a/b = 1", "a = 2", "a/c = 3"], "a"), @"a/c 58d6");
    assert_snapshot!(check(&["usr/x = 1\nusr/d/x = 1", "usr/x = 2\nusr/d/x = 2"], "usr/*"), @"error: the trees do not fit over each other: `usr/d/x` is a file in tree 0 and a different file in tree 1 (add a path to `__overlap` to let the later tree win there)");
}

#[track_caller]
fn check_select(text: &str, selection: Selection) -> String {
    let directories = MemoryDirectories::new();
    match select::select(&directories, &tree(&directories, text), &selection) {
        Ok(root) => print(&directories, &root),
        Err(error) => format!("error: {error}"),
    }
}

use super::select::Selection;

#[test]
fn selection() {
    const TREE: &str = "usr/bin/a * 1\nusr/lib/a.so -> a.so.1\nusr/lib/a.so.1 = 1\nusr/include/a.h = 1\nusr/share/doc/a/x = 1\nusr/share/empty/\nother = 1";
    let rules: Vec<(String, String)> =
        [("dev", "usr/include/**"), ("dev", "usr/lib/*.so"), ("lib", "usr/lib/**"), ("bin", "usr/bin/*")]
            .map(|(domain, glob)| (domain.to_owned(), glob.to_owned()))
            .to_vec();
    let domains = |names: &[&str]| {
        Selection::default().domains(&rules, Some(names.iter().map(|&name| name.to_owned()).collect())).unwrap()
    };
    assert_snapshot!(check_select(TREE, domains(&["dev"])), @"
    usr/include/a.h d63b
    usr/lib/a.so -> a.so.1
    usr/share/empty/
    ");
    assert_snapshot!(check_select(TREE, domains(&["lib", "bin"]).subdir("usr/").at("/opt/x")), @"
    opt/x/bin/a * d63b
    opt/x/lib/a.so.1 d63b
    opt/x/share/empty/
    ");
    assert_snapshot!(check_select(TREE, domains(&[""])), @"
    other d63b
    usr/share/doc/a/x d63b
    usr/share/empty/
    ");
    assert_snapshot!(check_select(TREE, Selection::default().exclude(["usr/share", "**/*.h", "usr/bin/*"]).unwrap()), @"
    other d63b
    usr/lib/a.so -> a.so.1
    usr/lib/a.so.1 d63b
    ");
    assert_snapshot!(check_select("a = 1", Selection::default().exclude(["**"]).unwrap()), @"/");
    assert_snapshot!(check_select(TREE, Selection::default().subdir("usr/none")), @"error: there is no `usr/none` in the tree");
    assert_snapshot!(Selection::default().exclude(["a[b"]).unwrap_err(), @"the glob `a[b` is not valid: unclosed character class; missing ']'");
}

#[test]
fn encoding_is_that_of_protobuf() {
    let directories = MemoryDirectories::new();
    let root = tree(&directories, "b * hi\na = \nl -> t\nd/");
    let bytes = directories.load(&root.fingerprint()).unwrap().encode();
    assert_eq!(Digest::of(&bytes), root.fingerprint());
    let empty = Digest::of(b"").hex();
    assert_eq!(empty, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
    let mut expected = Vec::new();
    expected.extend_from_slice(b"\x0a\x47\x0a\x01a\x12\x42\x0a\x40");
    expected.extend_from_slice(empty.as_bytes());
    expected.extend_from_slice(b"\x0a\x4b\x0a\x01b\x12\x44\x0a\x40");
    expected.extend_from_slice(Digest::of(b"hi").hex().as_bytes());
    expected.extend_from_slice(b"\x10\x02\x20\x01");
    expected.extend_from_slice(b"\x12\x47\x0a\x01d\x12\x42\x0a\x40");
    expected.extend_from_slice(empty.as_bytes());
    expected.extend_from_slice(b"\x1a\x06\x0a\x01l\x12\x01t");
    assert_eq!(bytes, expected);
}

#[test]
fn other_forms_are_refused() {
    let check = |bytes: &[u8]| Directory::decode(bytes).unwrap_err().to_string().split_once(": ").unwrap().1.to_owned();
    assert_snapshot!(check(b"\x1a\x06\x0a\x01l\x12\x01t\x1a\x06\x0a\x01a\x12\x01t"), @"it is not sorted, or not in canonical form");
    assert_snapshot!(check(b"\x1a\x06\x0a\x01l\x12\x01t\x1a\x06\x0a\x01l\x12\x01t"), @"a name occurs twice");
    assert_snapshot!(check(b"\x1a\x07\x0a\x02..\x12\x01t"), @"a name is empty, `.`, `..`, or holds a slash or NUL");
    assert_snapshot!(check(b"\x1a\x07\x0a\x02"), @"it ends within a field");
    assert_snapshot!(check(b"\x0a\x03\x0a\x01a"), @"an entry has no digest");
    assert_snapshot!(check(b"\x1a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), @"a number is too large");
    assert_snapshot!(check(b"\x2a\x00"), @"an entry has no digest");
}

fn node() -> impl Strategy<Value = Node> {
    prop_oneof![
        (any::<[u8; 32]>(), any::<bool>(), any::<u64>()).prop_map(|(digest, executable, size)| Node::File {
            digest: Digest::new(digest),
            executable,
            size
        }),
        (any::<[u8; 32]>(), any::<u64>())
            .prop_map(|(digest, size)| Node::Directory { digest: Digest::new(digest), size }),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(|target| Node::Symlink { target }),
    ]
}

proptest! {
    #[test]
    fn directories_round_trip(entries in prop::collection::btree_map(prop::collection::vec(any::<u8>(), 1..9), node(), 0..9)) {
        let mut directory = Directory::new();
        for (name, node) in entries {
            let fits = is_entry_name(&name);
            prop_assert_eq!(directory.insert(name, node.clone()).is_ok(), fits);
            prop_assert_eq!(Node::from_bytes(&node.to_bytes()), Some(node));
        }
        prop_assert_eq!(Directory::decode(&directory.encode()).unwrap(), directory);
    }

    #[test]
    fn what_decodes_is_canonical(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(directory) = Directory::decode(&bytes) {
            prop_assert_eq!(directory.encode(), bytes);
        }
    }

    /// Files hold their own path, so there are no conflicts.
    #[test]
    fn union_is_associative_commutative_and_idempotent(
        layers in prop::collection::vec(prop::collection::btree_set("[ab](/[ab]){0,3}/[xy]", 0..8), 3)
    ) {
        let directories = MemoryDirectories::new();
        let trees: Vec<Node> = layers.iter()
            .map(|paths| tree(&directories, &paths.iter().cloned().collect::<Vec<_>>().join("\n"))).collect();
        let union = |trees: &[&Node]| {
            let layers: Vec<Layer> = trees.iter().map(|&root| Layer { root: root.clone(), owner: String::new() }).collect();
            union::union(&directories, &layers, &Overlap::none()).unwrap().root
        };
        let [a, b, c] = [&trees[0], &trees[1], &trees[2]];
        let all = union(&[a, b, c]);
        prop_assert_eq!(&union(&[&union(&[a, b]), c]), &all);
        prop_assert_eq!(&union(&[a, &union(&[b, c])]), &all);
        prop_assert_eq!(&union(&[c, b, a]), &all);
        prop_assert_eq!(&union(&[&all, b, &all]), &all);
        let everything: Vec<String> = layers.iter().flatten().cloned().collect();
        prop_assert_eq!(&tree(&directories, &everything.join("\n")), &all);
    }
}
