# Outputs named by their content: placeholders stand for paths that are not known before the build.
let
  make = attrs: derivation ({ system = "x"; builder = "b"; } // attrs);
  floating = make { name = "ca"; __contentAddressed = true; outputs = [ "out" "dev" ]; };
  above = make { name = "dep"; builder = floating.dev; a = "${floating}"; };
  plain = make { name = "ff"; __contentAddressed = false; outputHashMode = "recursive"; };
  not_impure = make { name = "ff"; __impure = false; outputHashMode = "recursive"; };
  impure = make { name = "imp"; __impure = true; };
  above_impure = make { name = "onimp"; builder = impure; };
  structured = make { name = "sa"; __contentAddressed = true; __structuredAttrs = true; outputHashMode = "flat"; outputHashAlgo = "sha1"; };
in
map (drv: [ drv.drvPath drv.outPath ]) [ floating floating.dev above plain not_impure impure above_impure structured ]
++ [
  (builtins.getContext "${above}" == { ${builtins.unsafeDiscardStringContext above.drvPath}.outputs = [ "out" ]; })
  (builtins.tryEval (make { name = "both"; __impure = true; __contentAddressed = true; }).name)
]
