let
  flake = builtins.getFlake (toString ./flake);
in
{
  inherit (flake) answer nested files;
  inputs = builtins.attrNames flake.inputs;
  direct = flake.inputs.lib.name;
}
