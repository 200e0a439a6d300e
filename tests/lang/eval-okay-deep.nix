let
  count = n: if n == 0 then 0 else 1 + count (n - 1);
  list = builtins.foldl' (acc: i: acc ++ [ i ]) [ ] (builtins.genList (i: i) 200);
  nest = n: if n == 0 then { } else { a = nest (n - 1); };
in [ (count 5000) (builtins.length list) (builtins.deepSeq (nest 2000) "done") (builtins.foldl' (a: b: a + b) 0 (builtins.genList (x: x) 10000)) ]
