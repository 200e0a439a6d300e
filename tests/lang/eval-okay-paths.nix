[
  (toString /a/b) (toString /a/../b/./c) (/a + "/b") (/a + /b) ("x" + toString /a) (/a/b == /a/./b) (toString (/. + "etc"))
  (baseNameOf ./paths/x.nix) (builtins.pathExists ./eval-okay-paths.nix) (builtins.pathExists ./not-there) (builtins.pathExists ./dir) (toString (dirOf /a/b/c))
  (builtins.isPath (./. + "/x")) (toString /a/${"b"}/c) (toString /a/${"b" + "c"}.d) (builtins.typeOf (/a + "b")) (/a < /b)
]
