-- Short logs of builds, as one zstd frame each. Longer ones, and those of failed builds, are files.
CREATE TABLE logs (
    derivation TEXT PRIMARY KEY,         -- <hash>-<name>.drv
    written_at INTEGER NOT NULL,         -- seconds since 1970
    frame BLOB NOT NULL
) STRICT;
