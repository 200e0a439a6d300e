DELETE FROM valid_paths WHERE id = ?1
