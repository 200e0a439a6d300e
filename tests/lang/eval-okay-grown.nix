# Values that grow step by step share memory with the values before them; each must keep what it has.
let
  inherit (builtins) attrNames concatStringsSep elemAt foldl' genList hashString head length stringLength substring tail;
  numbers = genList (i: i) 300;
  sum = foldl' (a: b: a + b) 0;
  last = list: elemAt list (length list - 1);
  # The lists of all steps, those before included.
  appended = foldl' (acc: i: { now = acc.now ++ [ i ]; all = acc.all ++ [ acc.now ]; }) { now = [ ]; all = [ ]; } numbers;
  prepended = foldl' (acc: i: { now = [ i ] ++ acc.now; all = [ acc.now ] ++ acc.all; }) { now = [ ]; all = [ ]; } numbers;
  base = foldl' (a: i: a ++ [ i ]) [ ] numbers;
  forks = map (i: base ++ [ i ] ++ [ (i + 1) ]) [ 1000 2000 3000 ];
  frontForks = map (i: [ i (i + 1) ] ++ base) [ 1000 2000 3000 ];
  queue = foldl' (q: i: tail q ++ [ i ]) base numbers;
  both = foldl' (a: i: [ (-i) ] ++ a ++ [ i ]) [ ] numbers;
  text = foldl' (s: i: s + "item ${toString i};") "" numbers;
  interpolated = foldl' (s: i: "${s}item ${toString i};") "" numbers;
  fromFront = foldl' (s: i: "item ${toString i};${s}") "" numbers;
  separated = foldl' (s: i: concatStringsSep "," [ s (toString i) ]) "" numbers;
  texts = map (i: text + i) [ "one" "two" "three" ];
  rest = substring 500 (-1) text;
  named = i: { "k${toString i}" = i; };
  set = foldl' (a: i: a // named i) { } numbers;
  setFromFront = foldl' (a: i: named (i / 2) // { fixed = i; } // a) { } numbers;
  sets = map (i: set // { k7 = i; new = i; }) [ 1000 2000 ];
  less = foldl' (a: i: removeAttrs a [ "k${toString i}" ]) set (genList (i: i * 2) 140);
in
{
  appended = map (list: sum list == length list * (length list - 1) / 2) appended.all == map (_: true) numbers;
  prepended = map (list: list == [ ] || head list == length list - 1) prepended.all == map (_: true) numbers;
  forks = map (list: [ (length list) (elemAt list 299) (elemAt list 300) (last list) ]) forks;
  frontForks = map (list: [ (length list) (head list) (elemAt list 1) (elemAt list 2) (last list) ]) frontForks;
  base = [ (length base) (sum base) ];
  queue = queue == numbers;
  both = [ (length both) (sum both) (head both) (last both) ];
  text = [ (stringLength text) (hashString "md5" text) (interpolated == text) ];
  fromFront = [ (stringLength fromFront) (substring 0 18 fromFront) ];
  separated = separated == "," + concatStringsSep "," (map toString numbers);
  texts = map (s: substring 2585 (-1) s) texts;
  rest = [ (stringLength rest) (rest + "more" == substring 500 (-1) (text + "more")) (substring 0 9 rest) ];
  set = [ (length (attrNames set)) set.k0 set.k299 (set ? new) (set == builtins.listToAttrs (map (i: { name = "k${toString i}"; value = i; }) numbers)) ];
  setFromFront = [ (length (attrNames setFromFront)) setFromFront.fixed setFromFront.k149 ];
  sets = map (s: [ s.k7 s.new s.k8 (length (attrNames s)) ]) sets;
  less = [ (length (attrNames less)) (less ? k0) (less ? k1) less.k299 (less // { k0 = 5; }).k0 (attrNames (less // set) == attrNames set) ((set // less).k0) ];
  none = foldl' (a: i: removeAttrs a [ "k${toString i}" ]) set numbers == { };
}
