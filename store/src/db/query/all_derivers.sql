SELECT output.id, derivation_outputs.derivation
FROM derivation_outputs
JOIN valid_paths AS output ON output.path = derivation_outputs.path
