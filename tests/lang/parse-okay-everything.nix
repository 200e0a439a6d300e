{ a, w, b ? 1, ... }@args:
let inherit (args) c; d.e = a + b; d.f = ''
  text ${c}
''; in with d; assert e > 1; rec { x = y: z: [ (x y) ./p <q> ~/h a.b.c or 1 (!a -> b || c && d) ]; inherit w; "k" = -1; } // { }
