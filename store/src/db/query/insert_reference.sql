INSERT OR IGNORE INTO path_references (referrer, reference)
SELECT referrer.id, reference.id
FROM valid_paths AS referrer, valid_paths AS reference
WHERE referrer.path = ?1 AND reference.path = ?2
