INSERT OR REPLACE INTO derivation_outputs (derivation, output, path)
SELECT id, ?2, ?3 FROM valid_paths WHERE path = ?1
