-- The outputs of a valid derivation that have a path, and true where that path is valid.
SELECT derivation_outputs.output, derivation_outputs.path, output_path.id IS NOT NULL
FROM valid_paths
JOIN derivation_outputs ON derivation_outputs.derivation = valid_paths.id
LEFT JOIN valid_paths AS output_path ON output_path.path = derivation_outputs.path
WHERE valid_paths.path = ?1
