SELECT node, bytes, nar_size_bytes, nar_hash, registered_at, deriver FROM valid_paths WHERE path = ?1
