SELECT path, action FROM realisations WHERE derivation = ?1 AND output = ?2
