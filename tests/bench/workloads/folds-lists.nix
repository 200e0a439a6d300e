# Lists that grow in 40,000 steps: at the end, at the front, by concatLists, as a queue, and in a recursion.
let
  inherit (builtins) concatLists foldl' genList length tail;
  numbers = genList (i: i) 40000;
  go = n: if n == 0 then [ ] else [ n ] ++ go (n - 1);
in
{
  append = length (foldl' (a: i: a ++ [ i ]) [ ] numbers);
  prepend = length (foldl' (a: i: [ i ] ++ a) [ ] numbers);
  concatenated = length (foldl' (a: i: concatLists [ a [ i ] ]) [ ] numbers);
  queue = length (foldl' (q: i: tail q ++ [ i ]) (genList (i: i) 1000) numbers);
  recursion = foldl' (a: i: a + length (go 3000)) 0 (genList (i: i) 20);
}
