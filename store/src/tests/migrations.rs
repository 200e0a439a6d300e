//! Databases of every older schema are migrated, with their content.

use super::{name, open};
use crate::db::MIGRATIONS;
use model::{Digest, StorePath};
use rusqlite::Connection;
use test_support::Temporary;

#[test]
fn a_database_of_an_older_schema_keeps_its_paths() {
    let path = StorePath::new([1; 20], name("x"));
    let node = model::Node::File { digest: Digest::of(b"x"), executable: false, size: 1 };
    for version in 1..MIGRATIONS.len() {
        let temp = Temporary::new();
        drop(open(temp.path()));
        let file = temp.path().join("db/store.sqlite");
        std::fs::remove_file(&file).unwrap();
        let old = Connection::open(&file).unwrap();
        MIGRATIONS[..version].iter().for_each(|migration| old.execute_batch(migration).unwrap());
        old.pragma_update(None, "user_version", version as u32).unwrap();
        let row = (path.to_string(), node.to_bytes());
        old.execute("INSERT INTO valid_paths (path, node, bytes, registered_at) VALUES (?1, ?2, 1, 1)", row).unwrap();
        old.execute("INSERT INTO realisations VALUES ('x.drv', 'out', 'x', x'00')", []).unwrap();
        drop(old);
        let store = open(temp.path());
        assert_eq!(store.tree_of(&path).unwrap(), node, "from version {version}");
        store.check_database().unwrap();
        drop(store);
        let new = Connection::open(&file).unwrap();
        let found: u32 = new.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(found as usize, MIGRATIONS.len());
        let tables: Vec<String> = {
            let mut names = new.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").unwrap();
            names.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
        };
        assert!(!tables.iter().any(|table| table == "realisations"), "{tables:?}");
    }
}
