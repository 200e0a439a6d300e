# Two names of one value are one value: a function is equal to itself, and what is not evaluated
# is not compared.
let
  f = x: x;
  f' = f;
  f'' = f';
  list = [ (throw "compared") ];
  list' = list;
  set = { a = throw "compared"; };
  set' = set;
  partial = builtins.add 1;
  partial' = partial;
  nan = 1.0e308 * 10 - 1.0e308 * 10;
  nan' = nan;
  block = rec {
    g = f;
    h = g;
    i = x: x;
    j = i;
    inherit (block') k;
    l = k;
    all = [ ([ g ] == [ h ]) ([ h ] == [ f ]) ([ i ] == [ j ]) ([ k ] == [ l ]) ];
  };
  block' = { k = x: x; };
  defaults = { a ? f, b ? a, c ? b, d ? throw "a default" }: [ a b c ] == [ f f f ];
  given = { a ? b, b ? c, c ? 7 }: [ a b c ];
  outer = let f = throw "the outer one"; in let g = f'; h = g; in [ g ] == [ h ];
in
{
  functions = [ f ] == [ f' ] && [ f ] == [ f'' ] && { x = f; } == { x = f'; };
  lists = [ list ] == [ list' ];
  sets = [ set ] == [ set' ];
  calls = (x: y: [ x ] == [ y ]) f f';
  element = builtins.elem f [ f' ];
  partial = [ partial ] == [ partial' ];
  nan = [ nan ] == [ nan' ];
  inherit (block) all;
  inherit outer;
  defaults = [ (defaults { }) (given { }) (given { b = 2; }) (given { c = 3; }) ];
  builtin = let inherit (builtins) map; m = map; n = m; in n (x: x + 1) [ 1 2 ];
  shadowed = let x = 1; in let y = x; z = y; x = 2; in [ y z ];
  different = [ f ] == [ (x: x) ];
}
