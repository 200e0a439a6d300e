DELETE FROM valid_paths WHERE path = ?1
