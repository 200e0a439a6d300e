builtins.mapAttrs (name: value: [ value.drvPath value.outPath ]) (import ./derivations.nix)
