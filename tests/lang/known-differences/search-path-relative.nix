# A relative search path finds nothing: the language has no working directory, and its embedder makes paths absolute (`-I` and `NIX_PATH`
# do). Nix searches below its working directory.
builtins.tryEval (builtins.findFile [ { prefix = "a"; path = ""; } ] "a")
