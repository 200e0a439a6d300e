SELECT signature, node, files FROM sources WHERE device = ?1 AND inode = ?2
