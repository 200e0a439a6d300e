builtins.substring (-1) 1 (throw "the text is not asked for")
