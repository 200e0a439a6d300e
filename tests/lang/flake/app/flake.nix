{
  inputs.lib.url = "path:../lib";
  inputs.deep.url = "path:../deep";
  inputs.root.url = "path:..";
  inputs.root.inputs.app.follows = "";
  outputs = { self, lib, deep, root }: {
    name = "app";
    lib = lib.name;
    deep = deep.lib;
    self = root.inputs.app.name;
  };
}
