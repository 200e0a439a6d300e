SELECT device, inode, size, mtime_ns, ctime_ns, digest FROM source_files
