//! Random file systems for property tests.

use super::*;
use proptest::prelude::*;

/// Names of few letters, so that they meet, and some that need escapes.
fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => proptest::collection::vec(prop::sample::select(b"ab.".to_vec()), 1..4),
        1 => proptest::collection::vec(1u8..=255, 1..6),
        1 => (100usize..=255).prop_map(|len| vec![b'n'; len]),
    ]
    .prop_filter("a name of an entry", |name| model::tree::is_entry_name(name))
}

fn some_stat(mode: u32) -> impl Strategy<Value = Stat> {
    let time = (prop_oneof![Just(0i64), -5i64..5, any::<i64>()], prop_oneof![Just(0u32), 0u32..1_000_000_000]);
    let xattr = ("[a-z.]{1,9}".prop_map(String::into_bytes), proptest::collection::vec(any::<u8>(), 0..20));
    let number = || prop_oneof![3 => Just(0u32), 1 => any::<u32>()];
    (number(), number(), time, proptest::collection::btree_map(xattr.0, xattr.1, 0..2), 0u32..8).prop_map(
        move |(uid, gid, (seconds, nanoseconds), xattrs, special)| Stat {
            mode: mode | special << 9,
            uid,
            gid,
            mtime: Time { seconds, nanoseconds },
            xattrs,
        },
    )
}

fn content() -> impl Strategy<Value = Content<Digest>> {
    prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 0..3)
            .prop_map(|bytes| Content::File { size: bytes.len() as u64, blob: Digest::of(&bytes) }),
        1 => proptest::collection::vec(1u8..=255, 1..150).prop_map(|target| Content::Symlink { target }),
        1 => (0u32..1 << 12, 0u32..1 << 20)
            .prop_map(|(major, minor)| Content::CharacterDevice(Device { major, minor })),
        1 => Just(Content::Fifo),
    ]
}

fn some_inode() -> impl Strategy<Value = Arc<Inode<Digest>>> {
    let mode = prop::sample::select(vec![0o644, 0o755, 0o600, 0o777, 0]);
    (mode.prop_flat_map(some_stat), content()).prop_map(|(stat, content)| Arc::new(Inode { stat, content }))
}

/// A file system with up to some dozens of entries; a few inodes have several names.
pub fn file_system() -> impl Strategy<Value = FileSystem<Digest>> {
    let shared = proptest::collection::vec(some_inode(), 1..3);
    shared.prop_flat_map(|shared| {
        let leaf = prop_oneof![
            4 => some_inode().prop_map(Child::Inode),
            1 => prop::sample::select(shared).prop_map(Child::Inode),
            1 => some_stat(0o755).prop_map(|stat| Child::Directory(Directory::new(stat))),
        ];
        let tree = leaf.prop_recursive(4, 40, 6, |child| {
            (some_stat(0o755), proptest::collection::btree_map(name(), child, 0..6))
                .prop_map(|(stat, entries)| Child::Directory(Directory { stat, entries }))
        });
        (some_stat(0o755), proptest::collection::btree_map(name(), tree, 0..6))
            .prop_map(|(stat, entries)| FileSystem { root: Directory { stat, entries } })
    })
}
