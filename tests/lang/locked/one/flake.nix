{
  inputs.two.url = "path:../two";
  inputs.data = { url = "path:./absent"; flake = false; };
  outputs = { self, two, data }: {
    name = "one";
    below = "${two.name}, ${builtins.readFile "${data}/text"}";
  };
}
