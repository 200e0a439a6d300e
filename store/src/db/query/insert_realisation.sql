INSERT OR REPLACE INTO realisations (derivation, output, path, action) VALUES (?1, ?2, ?3, ?4)
