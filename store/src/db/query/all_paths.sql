SELECT path FROM valid_paths ORDER BY path
