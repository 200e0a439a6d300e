INSERT OR REPLACE INTO source_files (device, inode, size, mtime_ns, ctime_ns, digest) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
