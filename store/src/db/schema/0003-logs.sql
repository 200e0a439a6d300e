-- Logs of builds that printed little, as they are: one zstd frame. Longer ones, and those of builds that failed, are files.
CREATE TABLE logs (
    derivation TEXT PRIMARY KEY,         -- <hash>-<name>.drv
    written_at INTEGER NOT NULL,         -- seconds since 1970
    frame BLOB NOT NULL
) STRICT;
