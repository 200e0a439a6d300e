{
  inputs.changed.url = "path:./now";
  outputs = { self, changed }: { inherit (changed) name; };
}
