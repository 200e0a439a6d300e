import ./dir/broken.nix
