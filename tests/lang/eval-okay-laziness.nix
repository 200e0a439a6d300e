let
  boom = throw "forced"; loop = loop;
  ones = [ 1 ] ++ ones; stream = n: { head = n; tail = stream (n + 1); };
  take = n: s: if n == 0 then [ ] else [ s.head ] ++ take (n - 1) s.tail;
in {
  unused = (x: 1) boom;
  attr = { a = 1; b = boom; }.a;
  list = builtins.elemAt [ boom 2 boom ] 1;
  default = ({ a ? boom, b }: b) { b = 1; };
  let' = let x = boom; y = loop; in 1;
  stream = take 5 (stream 3);
  or' = { a = 1; }.a or boom;
  seq = [ (builtins.seq 1 2) (builtins.seq { a = boom; } 3) (builtins.deepSeq [ 1 { a = 2; } ] 4) ];
  try = with builtins; [ (tryEval boom) (tryEval 1) (tryEval (assert false; 1)) (tryEval { a = boom; }).success (tryEval (tryEval boom)).value ];
  assert' = assert 1 == 1; "held";
  typeOf = map builtins.typeOf [ 1 1.0 "s" /p null true [ ] { } (x: x) builtins.map (builtins.map (x: x)) ];
}
