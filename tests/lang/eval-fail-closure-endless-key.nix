let
  a = [ a ];
  b = [ b ];
in
builtins.genericClosure {
  startSet = [ { key = a; } { key = b; } ];
  operator = item: [ ];
}
