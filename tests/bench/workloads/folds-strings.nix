# Strings that grow in 40,000 steps: by `+`, interpolation, at the front, by concatStringsSep; and one that shrinks.
let
  inherit (builtins) concatStringsSep foldl' genList hashString stringLength substring;
  numbers = genList (i: i) 40000;
in
{
  plus = stringLength (foldl' (s: i: s + "item ${toString i};") "" numbers);
  interpolated = stringLength (foldl' (s: i: "${s}item ${toString i};") "" numbers);
  front = stringLength (foldl' (s: i: "item ${toString i};${s}") "" numbers);
  separated = hashString "md5" (foldl' (s: i: concatStringsSep "," [ s (toString i) ]) "" (genList (i: i) 20000));
  shrunk = stringLength (foldl' (s: i: substring 4 (-1) s) (concatStringsSep "" (map toString numbers)) numbers);
}
