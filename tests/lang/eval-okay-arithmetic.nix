{
  ints = [ (1 + 2) (5 - 7) (6 * 7) (7 / 2) (-7 / 2) (- 3) (-(-3)) ];
  floats = [ (1 + 2.5) (7 / 2.0) (.5 * 2) (1.5e3 - 1) (3.0) (1.0e-7) (123456789.0) ];
  precedence = [ (1 + 2 * 3 - 4) ((1 + 2) * 3) (10 - 2 - 3) (100 / 5 / 2) (-2 + 1) ];
  builtins = with builtins; [ (add 1 2) (sub 1 2.5) (mul 2 3) (div 9 2) (ceil 1.2) (floor (-1.2)) (ceil 3) ];
  bits = with builtins; [ (bitAnd 12 10) (bitOr 12 10) (bitXor 12 10) (bitAnd (-1) 255) ];
  order = [ (1 < 2) (1 < 1.5) (2.0 <= 2) (3 > 2.9) (3 >= 4) (1 == 1.0) (1.0 != 1) (builtins.lessThan 2 1) ];
}
