builtins.getContext ./dir
