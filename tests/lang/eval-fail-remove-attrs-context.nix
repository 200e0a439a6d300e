builtins.removeAttrs { a = 1; } [ "${builtins.toFile "f" "x"}" ]
