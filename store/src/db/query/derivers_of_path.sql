SELECT valid_paths.path
FROM derivation_outputs
JOIN valid_paths ON valid_paths.id = derivation_outputs.derivation
WHERE derivation_outputs.path = ?1
ORDER BY valid_paths.path
