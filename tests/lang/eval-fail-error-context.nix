builtins.addErrorContext "while computing the answer" (throw "no answer")
