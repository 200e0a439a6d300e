# A repeated list is recognised by its position, a set by its identity.
let
  one = [ one ];
  two = [ 1 two ];
  three = [ 1 2 three ];
  set = { inherit set; };
  shared = [ "s" ];
in
[
  (let x = [ x ]; in x)
  (let x = [ 1 2 x ]; in x)
  one
  two
  three
  set
  shared
  shared
  (let x = { inherit x; }; in x)
  ((x: x) shared)
  ((x: x) set)
]
