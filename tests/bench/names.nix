# The names of all packages of a tree, as `nix-env -qa` walks them: sets that ask for it by `recurseForDerivations` are
# entered, what throws is passed over. Prints how many there are and a hash of the list. Trees that are not whole have
# names that fail in ways that cannot be caught: these can be skipped, and aliases are left out.
{ tree, skip ? [ ] }:
let
  inherit (builtins) attrNames concatLists concatMap hashString isAttrs length concatStringsSep tryEval;
  walk = path: set: concatMap (name:
    let
      value = set.${name};
      inside = path ++ [ name ];
      found =
        if !isAttrs value then [ ]
        else if value.type or null == "derivation" then [ "${concatStringsSep "." inside} ${value.name}" ]
        else if value.recurseForDerivations or false == true then walk inside value
        else [ ];
      tried = tryEval (let list = found; in builtins.seq (length list) (builtins.foldl' (a: b: builtins.seq b a) list list));
    in if tried.success then tried.value else [ ]) (attrNames (removeAttrs set skip));
  names = walk [ ] (import tree { system = "x86_64-linux"; config = { allowAliases = false; }; overlays = [ ]; });
in
{
  count = length names;
  hash = hashString "sha256" (concatStringsSep "\n" names);
}
