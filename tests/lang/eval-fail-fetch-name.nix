builtins.fetchurl "https://example.org/~name~"
