SELECT path FROM valid_paths WHERE id = ?1
