builtins.div "text" 0
