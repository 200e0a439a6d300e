let
  f = a: b: args@{ c, d ? 1, ... }: _: a;
in
map builtins.toXML [ f (f 1) (f 1 2) (f 1 2 { c = 3; }) ]
