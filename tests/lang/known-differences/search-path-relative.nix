# A search path that is not absolute finds nothing: the language has no current folder, and whoever starts it makes paths absolute (`-I`
# and `NIX_PATH` do). Nix looks below the folder that it was started in.
builtins.tryEval (builtins.findFile [ { prefix = "a"; path = ""; } ] "a")
