let
  a = { self = a; x = 1; };
  l = [ 1 l ];
in [ a.self.self.x (builtins.length (builtins.elemAt l 1)) (builtins.seq a 1) (builtins.deepSeq a 2) (builtins.attrNames a.self) ]
