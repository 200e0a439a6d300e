builtins.fetchGit { url = "https://example.org/a.git"; branch = "main"; }
