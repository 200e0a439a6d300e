let
  set = { a = 1;
    b.c = 2; inherit (builtins) map; };
  line = pos: if pos == null then null else [ pos.line pos.column ];
  at = name: s: line (builtins.unsafeGetAttrPos name s);
in [
  (at "a" set) (at "b" set) (at "c" set.b) (at "zz" set) (line __curPos)
    (line __curPos) (at "x" (rec { y = 1; x = y; })) (at "b" (set // { b = 1; })) (baseNameOf __curPos.file)
  (at "a" (builtins.mapAttrs (name: value: value) set))
  (at "b" (builtins.mapAttrs (name: value: value) (builtins.mapAttrs (name: value: value) set)))
]
