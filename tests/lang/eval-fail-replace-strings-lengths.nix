# told before the text is looked at, whose throw could be caught
builtins.tryEval (builtins.replaceStrings [ "a" ] [ ] (throw "the text"))
