# Chains of more operands than one row of registers holds, made as text.
let
  inherit (builtins) concatStringsSep genList toFile toString;
  count = 1000;
  chain = operator: operand: import (toFile "chain.nix" "f: l: ${concatStringsSep operator (genList operand count)}");
  run = operator: operand: chain operator operand (x: x) [ 7 ];
in
{
  add = run " + " toString;
  text = builtins.stringLength (run " + " (n: "f \"a${toString n}\""));
  float = run " + " (n: if n == 3 then "0.5" else "1");
  path = toString (run " + " (n: if n == 0 then "/a" else "\"/b\"")) == "/a" + concatStringsSep "" (genList (n: "/b") (count - 1));
  context = builtins.attrNames (builtins.getContext (chain " + " (n: "l + \"\"") (x: x) (toFile "x" "y")));
  mixed = run " + " (n: "${toString n} * 2 - f ${toString n} / 1");
  subtract = run " - " toString;
  lists = builtins.length (run " ++ " (n: "f [ ${toString n} ] ++ l ++ [ ]"));
  last = builtins.elemAt (run " ++ " (n: "[ ${toString n} ]")) 999;
  sets = (run " // " (n: "f { a${toString (builtins.bitAnd n 7)} = ${toString n}; }"));
  and = [ (run " && " (n: "f true")) (run " && " (n: if n == 500 then "false" else if n > 500 then "throw \"late\"" else "true")) ];
  or = [ (run " || " (n: "f false")) (run " || " (n: if n == 500 then "true" else if n > 500 then "throw \"late\"" else "false")) ];
  implies = [ (run " -> " (n: "f true")) (run " -> " (n: if n == 500 then "false" else if n > 500 then "throw \"late\"" else "true")) (run " -> " (n: if n == 999 then "false" else "true")) ];
  condition = import (toFile "condition.nix" "if ${concatStringsSep " && " (genList (n: "${toString n} == ${toString n}") count)} then 1 else 2");
  branches = import (toFile "branches.nix" "x: ${concatStringsSep "" (genList (n: "if x == ${toString n} then \"is ${toString n}\" else ") count)}\"other\"") 700;
  lazyBranches = (import (toFile "branches.nix" "x: { a = ${concatStringsSep "" (genList (n: "if x == ${toString n} then \"is ${toString n}\" else ") count)}\"other\"; }") 1700).a;
  parts = builtins.stringLength (import (toFile "parts.nix" "x: \"${concatStringsSep "" (genList (n: "\${x}${toString n}") count)}\"") "abc");
  calls = import (toFile "calls.nix" "let f = x: y: x + y; in ${concatStringsSep "" (genList (n: "f (") 2000)}1${concatStringsSep "" (genList (n: ") 2") 2000)}");
  dynamic = builtins.length (builtins.attrNames (import (toFile "dynamic.nix" "f: { ${concatStringsSep "" (genList (n: "\${\"a\" + f ${toString n}} = ${toString n}; ") 3000)}}") toString));
  inherits = (import (toFile "inherits.nix" "s: { ${concatStringsSep "" (genList (n: "inherit ({ a${toString n} = s; }) a${toString n}; ") count)}}") 5).a999;
}
