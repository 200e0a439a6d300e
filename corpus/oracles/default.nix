# References that the tests compare with: programs of others, as pinned packages that are unpacked
# into a root each; and the sources of Nix, for the suite in `tests/lang`.
{
  builders,
  seed,
  tree,
}:
let
  names = builtins.filter (name: builtins.match "oracle-.*" name != null) (builtins.attrNames seed.sets);
  # files that make the tree usable as a root
  skeleton = builders.write {
    name = "oracle-skeleton";
    files = {
      "etc/passwd".text = "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n";
      "etc/group".text = "root:x:0:\nnogroup:x:65534:\n";
    };
  };
in
builtins.listToAttrs (map (name: { inherit name; value = tree { inherit name; set = name; extra = [ skeleton ]; }; }) names)
// {
  oracle-nix-source = ((import ../lib/fetch.nix { inherit builders seed; }).fetchDebSource { name = "nix"; }).src;
}
