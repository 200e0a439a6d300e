# The names at the top of a package set, separated by blanks. Sets of packages for other systems repeat the whole tree.
{ nixpkgs }:
let
  pkgs = import nixpkgs {
    system = "x86_64-linux";
    overlays = [ ];
    config = { };
  };
in
builtins.concatStringsSep " " (
  builtins.filter (name: builtins.match "pkgs.*|.*Packages_[0-9].*|tests|nixosTests|appendOverlays" name == null) (
    builtins.attrNames pkgs
  )
)
