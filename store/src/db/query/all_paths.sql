SELECT path, node, bytes, registered_at, deriver FROM valid_paths ORDER BY path
