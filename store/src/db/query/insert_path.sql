INSERT INTO valid_paths (path, node, bytes, nar_size_bytes, nar_hash, registered_at, deriver)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
ON CONFLICT (path) DO UPDATE SET
    nar_size_bytes = coalesce(excluded.nar_size_bytes, nar_size_bytes),
    nar_hash = coalesce(excluded.nar_hash, nar_hash),
    deriver = coalesce(excluded.deriver, deriver)
