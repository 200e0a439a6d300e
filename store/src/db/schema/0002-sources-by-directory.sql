-- A cache of the trees of sources, by directory; see sources.rs.
DROP TABLE source_files;
CREATE TABLE sources (
    device INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    signature BLOB NOT NULL,             -- of all that can be seen without reading files
    node BLOB NOT NULL,                  -- the tree while the signature is the same: tree::Node::to_bytes
    files BLOB NOT NULL,                 -- identities of files, and the digests of what they held
    PRIMARY KEY (device, inode)
) STRICT;
