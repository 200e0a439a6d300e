DELETE FROM path_references WHERE referrer = ?1
