{
  inputs = {
    lib.url = "path:./lib";
    other.url = "path:./other";
    # The `lib` of `app` is `other` here, and so is the `lib` of `deep` below it.
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
