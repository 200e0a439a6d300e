DELETE FROM path_references WHERE referrer = (SELECT id FROM valid_paths WHERE path = ?1)
