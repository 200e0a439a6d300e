{
  dir = import ./dir;
  file = import ./dir/default.nix;
  function = import ./dir/function.nix 5;
  args = import ./dir/args.nix { a = 1; };
  scoped = builtins.scopedImport { imported = 1; offset = 41; } ./dir/scoped.nix;
  string = import (toString ./dir/default.nix);
  read = builtins.readFile ./dir/text;
  readDir = builtins.readDir ./dir;
  json = builtins.fromJSON (builtins.readFile ./dir/data.json);
  find = baseNameOf (builtins.findFile [ { prefix = "p"; path = ./dir; } ] "p/text");
}
