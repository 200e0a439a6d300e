SELECT id, bytes, registered_at FROM valid_paths ORDER BY id
