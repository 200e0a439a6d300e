SELECT referrer, reference FROM path_references
