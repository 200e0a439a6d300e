# Sets that change step by step: `//` at either end, removeAttrs, overlays of one name, and recursive merging.
let
  inherit (builtins) attrNames foldl' genList isAttrs length listToAttrs mapAttrs;
  numbers = genList (i: i) 20000;
  name = i: "k${toString i}";
  big = listToAttrs (genList (i: { name = name i; value = i; }) 10000);
  fix = f: let x = f x; in x;
  extends = overlay: f: final: let previous = f final; in previous // overlay final previous;
  overlays = genList (i: final: previous: { x = (previous.x or 0) + 1; }) 1000;
  recursiveUpdate = left: right: left // mapAttrs (name: value:
    if isAttrs value && isAttrs (left.${name} or null) then recursiveUpdate left.${name} value else value) right;
  mod = a: m: a - a / m * m;
in
{
  update = length (attrNames (foldl' (a: i: a // { ${name i} = i; }) { } numbers));
  front = length (attrNames (foldl' (a: i: { ${name i} = i; } // a) { } numbers));
  removed = length (attrNames (foldl' (a: i: removeAttrs a [ (name i) ]) big (genList (i: i) 9000)));
  overlaid = (fix (foldl' (f: overlay: extends overlay f) (final: big) overlays)).x;
  merged = foldl' (sum: set: sum + length (attrNames set)) 0
    (builtins.attrValues (foldl' (a: i: recursiveUpdate a { "g${toString (mod i 100)}".${name i} = i; }) { } numbers));
}
