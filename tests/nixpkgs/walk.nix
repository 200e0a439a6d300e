# The derivation paths below some attributes of a package set, one line an attribute: `path drv`, or `path -` for what
# throws. Sets that say `recurseForDerivations` are walked, others are no packages.
{
  nixpkgs,
  # Names at the top, separated by blanks.
  names,
  depth ? 3,
}:
let
  pkgs = import nixpkgs {
    system = "x86_64-linux";
    overlays = [ ];
    config = {
      allowUnfree = true;
      allowBroken = true;
      allowUnsupportedSystem = true;
      allowInsecurePredicate = _: true;
      checkMeta = false;
    };
  };
  inherit (builtins)
    attrNames
    concatMap
    concatStringsSep
    filter
    isAttrs
    isString
    split
    tryEval
    unsafeDiscardStringContext
    ;
  # A set, or null when it throws.
  attempt =
    value:
    let
      tried = tryEval value;
    in
    if tried.success then tried.value else null;
  walk =
    level: path: value:
    let
      set = attempt (if isAttrs value then value else { });
      derivation = attempt (set.type or null == "derivation");
      drv = attempt (unsafeDiscardStringContext set.drvPath);
      recurse = attempt (set.recurseForDerivations or false == true);
    in
    if set == null || derivation == null then
      [ "${path} -" ]
    else if derivation then
      [ "${path} ${if drv == null then "-" else drv}" ]
    else if recurse == true && level < depth then
      concatMap (name: walk (level + 1) "${path}.${name}" set.${name}) (attrNames set)
    else
      [ ];
in
concatStringsSep "\n" (
  concatMap (name: walk 0 name pkgs.${name}) (filter (name: isString name && name != "") (split " " names))
)
