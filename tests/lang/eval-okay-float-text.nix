let
  big = 1.0e200 * 1.0e200;
in
map toString [ 1.5 0.1 1.0e20 (-0.0) big (-big) ]
