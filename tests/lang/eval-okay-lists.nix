with builtins;
let xs = [ 3 1 2 ]; boom = throw "forced";
in {
  concat = [ 1 ] ++ [ 2 3 ] ++ [ ];
  lazy = length [ boom boom ];
  access = [ (head xs) (tail xs) (elemAt xs 2) (length xs) (elem 2 xs) (elem 4 xs) (elem 2.0 xs) ];
  map = map (x: x * 10) xs;
  filter = filter (x: x > 1) xs;
  fold = [ (foldl' (a: b: a + b) 0 xs) (foldl' (a: b: "${a}${toString b}") "" xs) (foldl' (_: x: x) boom [ 1 ]) ];
  genList = genList (i: i * i) 5;
  sort = [ (sort lessThan xs) (sort (a: b: a > b) xs) (sort (a: b: a.k < b.k) [ { k = 2; v = 1; } { k = 1; v = 2; } { k = 2; v = 3; } { k = 1; v = 4; } ]) ];
  partition = partition (x: x > 1) xs;
  groupBy = groupBy (x: if x > 1 then "big" else "small") xs;
  concatMap = concatMap (x: [ x x ]) xs;
  concatLists = concatLists [ [ 1 ] [ ] [ 2 [ 3 ] ] ];
  any = [ (any (x: x == 2) [ 1 2 boom ]) (any (x: true) [ ]) (all (x: x < 2) [ 1 2 boom ]) (all (x: false) [ ]) ];
  equal = [ ([ 1 2 ] == [ 1 2 ]) ([ 1 ] == [ 1 2 ]) ([ ] == [ ]) ([ [ 1 ] ] != [ [ 1 ] ]) ];
  closure = genericClosure { startSet = [ { key = 1; } ]; operator = item: if item.key > 20 then [ ] else [ { key = item.key * 2; } { key = item.key * 3; } ]; };
}
