# reported before the text is evaluated, whose throw could be caught
builtins.tryEval (builtins.replaceStrings [ "a" ] [ ] (throw "the text"))
