{
  inputs.lib.url = "path:../lib";
  outputs = { self, lib }: { lib = lib.name; };
}
