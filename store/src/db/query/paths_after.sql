SELECT id, path, node FROM valid_paths WHERE id > ?1 ORDER BY id LIMIT 1000
