INSERT OR REPLACE INTO sources (device, inode, signature, node, files) VALUES (?1, ?2, ?3, ?4, ?5)
