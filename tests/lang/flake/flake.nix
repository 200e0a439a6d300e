{
  inputs = {
    lib.url = "path:./lib";
    other.url = "path:./other";
    # What `app` calls `lib` is what `other` is here; what `deep` below it has as `lib`, too.
    app = {
      url = "path:./app";
      inputs.lib.follows = "other";
      inputs.deep.inputs.lib.follows = "other";
    };
    files = {
      url = "path:./lib";
      flake = false;
    };
    again.follows = "app/deep";
  };
  outputs =
    { self, lib, other, app, files, again }:
    {
      answer = [ lib.name other.name ];
      nested = [ app.lib app.deep again.lib app.self (self.inputs.lib.name) ];
      files = [ (builtins.readFile (files + "/name")) (files ? outputs) (baseNameOf files.outPath) ];
    };
}
