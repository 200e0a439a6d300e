-- Store objects that are complete: their bytes were durable before their row was written.
CREATE TABLE valid_paths (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,           -- <hash>-<name>, without the store directory
    node BLOB NOT NULL,                  -- the tree: tree::Node::to_bytes
    bytes INTEGER NOT NULL,              -- of all files together
    nar_size_bytes INTEGER,              -- of the NAR, once computed
    nar_hash TEXT,                       -- SRI, once computed
    registered_at INTEGER NOT NULL,      -- seconds since 1970
    deriver TEXT                         -- <hash>-<name>.drv
) STRICT;

-- "referrer refers to reference". A referenced path cannot be deleted before its referrers.
CREATE TABLE path_references (
    referrer INTEGER NOT NULL REFERENCES valid_paths (id) ON DELETE CASCADE,
    reference INTEGER NOT NULL REFERENCES valid_paths (id) ON DELETE RESTRICT,
    PRIMARY KEY (referrer, reference)
) STRICT, WITHOUT ROWID;
CREATE INDEX path_references_by_reference ON path_references (reference);

-- Paths of the outputs of derivations; rows exist while the derivation is valid.
CREATE TABLE derivation_outputs (
    derivation INTEGER NOT NULL REFERENCES valid_paths (id) ON DELETE CASCADE,
    output TEXT NOT NULL,
    path TEXT NOT NULL,
    PRIMARY KEY (derivation, output)
) STRICT, WITHOUT ROWID;
CREATE INDEX derivation_outputs_by_path ON derivation_outputs (path);

-- The action cache: the outputs of actions.
CREATE TABLE actions (
    action BLOB NOT NULL,                -- digest, 32 bytes
    output TEXT NOT NULL,
    node BLOB NOT NULL,
    recorded_at INTEGER NOT NULL,
    PRIMARY KEY (action, output)
) STRICT, WITHOUT ROWID;

-- The action that realised a derivation's output, and the path of that output.
CREATE TABLE realisations (
    derivation TEXT NOT NULL,
    output TEXT NOT NULL,
    path TEXT NOT NULL,
    action BLOB NOT NULL,
    PRIMARY KEY (derivation, output)
) STRICT, WITHOUT ROWID;

-- One row for each run of an action.
CREATE TABLE builds (
    id INTEGER PRIMARY KEY,
    derivation TEXT NOT NULL,
    action BLOB NOT NULL,
    started_at INTEGER NOT NULL,         -- seconds since 1970
    duration_ms INTEGER NOT NULL,
    cpu_ms INTEGER NOT NULL,
    memory_peak_bytes INTEGER,
    log TEXT,                            -- file name below log/
    status TEXT NOT NULL                 -- 'succeeded', or why it failed
) STRICT;
CREATE INDEX builds_by_derivation ON builds (derivation, id);
CREATE INDEX builds_by_action ON builds (action, id);

-- Digests of source files when they were last read, so that unchanged files are not read again.
CREATE TABLE source_files (
    device INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (device, inode)
) STRICT, WITHOUT ROWID;
