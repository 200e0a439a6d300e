with builtins;
let
  drv = derivation { name = "ctx"; system = "x"; builder = "/b"; outputs = [ "out" "dev" ]; };
  file = toFile "file.txt" "hello";
  names = s: mapAttrs (_: v: v) (getContext s);
in {
  plain = [ (hasContext "a") (getContext "a") ];
  drv = [ (hasContext "${drv}") (names "${drv}") (names "${drv.dev}") (names drv.drvPath) (names "${drv}${drv.dev}-${file}") ];
  kept = map hasContext [ (substring 0 1 "${drv}") (replaceStrings [ "x" ] [ "${drv}" ] "axb") (concatStringsSep "" [ "a" file ]) (toString [ drv ]) (toJSON { a = drv; }) ];
  lost = map hasContext [ (baseNameOf "a") (unsafeDiscardStringContext file) (toString (stringLength file)) ];
  discarded = getContext (unsafeDiscardOutputDependency drv.drvPath);
  appended = appendContext "a" (getContext "${drv}") == "a";
  round = getContext (appendContext "" (getContext "${drv}${file}")) == getContext "${drv}${file}";
  head = head (match "(.).*" file);
  attr = (listToAttrs [ { name = unsafeDiscardStringContext "${drv}"; value = 1; } ]) ? "${unsafeDiscardStringContext drv.outPath}";
}
