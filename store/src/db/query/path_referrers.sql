SELECT source.path
FROM path_references
JOIN valid_paths AS source ON source.id = path_references.referrer
JOIN valid_paths AS target ON target.id = path_references.reference
WHERE target.path = ?1
