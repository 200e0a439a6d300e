let
  dep = derivation { name = "dep"; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" "echo > $out" ]; };
  main = derivation {
    name = "main-1.0"; system = "x86_64-linux"; builder = "/bin/sh"; outputs = [ "out" "dev" "doc" ];
    inherit dep; depDrv = dep.drvPath; text = "uses ${dep}"; number = 1; float = 1.5; yes = true; no = false; nothing = null; list = [ "a" 1 dep ]; src = builtins.toFile "src" "data";
    placeholder = builtins.placeholder "dev";
  };
  fixed = derivation { name = "fixed"; system = "builtin"; builder = "builtin:fetchurl"; outputHashMode = "flat"; outputHashAlgo = "sha256"; outputHash = "0000000000000000000000000000000000000000000000000000"; url = "https://example.org"; };
  recursive = derivation { name = "rec"; system = "x"; builder = "/b"; outputHashMode = "recursive"; outputHash = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="; };
  structured = derivation { name = "st"; system = "x"; builder = "/b"; __structuredAttrs = true; outputs = [ "out" "lib" ]; a.b = [ 1 2 true null ]; s = "é"; inherit dep; };
  ignore = derivation { name = "ig"; system = "x"; builder = "/b"; __ignoreNulls = true; a = null; b = 1; };
  onFixed = derivation { name = "onf"; system = "x"; builder = "/b"; inherit fixed; };
in map (d: [ d.drvPath d.outPath ]) [ dep main main.dev main.doc fixed recursive structured structured.lib ignore onFixed ]
++ [ main.name main.type main.outputName main.dev.outputName (builtins.attrNames main) (builtins.length main.all) (dep == dep) (main == main.dev) (dep.drvAttrs) ]
