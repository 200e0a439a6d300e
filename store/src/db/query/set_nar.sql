UPDATE valid_paths SET nar_size_bytes = ?2, nar_hash = ?3 WHERE path = ?1
