# Order of evaluation, shown by traces: the error output is the expectation.
let
  say = text: value: builtins.trace text value;
  inherit (builtins) trace;
  late = trace "first" 1;
  set = trace "set first" { a = 1; };
in
[
  (late + (trace "second" 2))
  ((let a = trace "let first" 1; in a) + (say "then second" 2))
  ((if true then (trace "if first" 3) else 0) < (say "less second" 2))
  ((let n = trace "first part" "a"; in "${n}${say "second part" "b"}"))
  (let s = set; in s.${say "name second" "a"})
  (let s = trace "has first" { }; in s ? ${say "has second" "a"})
  (builtins.div (let a = trace "div first" 6; in a) (say "div second" 2))
  (builtins.attrNames (let n = trace "name one" "x"; in { ${n} = 1; ${say "name two" "y"} = 2; }))
  ((let a = trace "merge first" { x = 1; }; in a) // (say "merge second" { y = 2; }))
  (let a = trace "list first" [ 1 ]; in a ++ (say "list second" [ 2 ]))
  ((rec { a = trace "rec first" 1; b = a; }).b == (say "equal second" 1))
]
