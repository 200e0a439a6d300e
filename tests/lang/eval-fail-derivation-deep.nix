(derivation {
  name = "deep";
  system = "s";
  builder = "b";
  __structuredAttrs = true;
  nested = builtins.foldl' (inner: n: { inherit inner n; }) null (builtins.genList (n: n) 20000);
}).drvPath
