SELECT count(*), coalesce(sum(length(frame)), 0) FROM logs
WHERE written_at < ?1 AND derivation NOT IN (SELECT path FROM valid_paths)
