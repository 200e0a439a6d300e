builtins.fetchTree { type = "git"; url = "https://example.org/a.git"; name = "a"; }
