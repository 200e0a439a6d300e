# Integers interpolated through `toString`, alone and among other parts.
let
  four = 4;
  shadow = let toString = x: "own"; in "${toString four}-";
in
[
  "a${toString 1}"
  "${toString (-7)}b"
  "${toString 1}${toString 2}"
  "x${toString 9223372036854775807}y${toString 0}"
  "${toString (-9223372036854775807 - 1)}"
  "${toString [ 1 2 ]}!"
  "${builtins.toString four}-${toString (four + four)}"
  "${toString "s"}${toString null}"
  shadow
  (builtins.tryEval "${toString 1}${throw "x"}").success
  (builtins.tryEval "${throw "x"}${toString 1}").success
  (map (i: "n${toString i}") [ 1 four (four * 100) ])
]
