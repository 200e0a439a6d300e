{
  inputs = {
    one.url = "path:./one";
    one.inputs.data.follows = "data";
    two.follows = "one/two";
    data = { url = "path:./data"; flake = false; };
  };
  outputs = { self, one, two, data }: {
    answer = [ one.name two.name (builtins.readFile (data + "/text")) ];
    below = one.below;
    same = one.inputs.data.outPath == data.outPath;
    names = builtins.attrNames one.inputs;
  };
}
