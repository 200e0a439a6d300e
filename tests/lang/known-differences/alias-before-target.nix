# An alias and its target are one value here, in any order; in Nix the answer depends on which of the two names the evaluator has met first.
rec { later = m; m = x: x; all = [ later ] == [ m ]; }.all
