# The corpus: from pinned binaries to prefixes and images.
#
#     (import ./corpus { }).at "/opt/x"
#
# Every part of a prefix is a function of the prefix's path: the path is compiled into the C library
# and from there into everything else. The parts independent of it (the seed, the oracles) are built
# once.
{
  seed ? builtins.fromJSON (builtins.readFile ./bootstrap/seed.json),
}:
let
  builders = import ./lib/builders.nix;
  fetch = import ./lib/fetch.nix { inherit builders seed; };
  stage0 = import ./bootstrap/stage0.nix {
    inherit builders seed;
    inherit (fetch) fetchDeb;
  };

  # `at "/opt/x"`, or `at { path = "/opt/x"; packages = ./packages; … }`; see lib/at.nix.
  at = import ./lib/at.nix { inherit builders fetch stage0; };
in
{
  inherit at stage0 builders;
  inherit (fetch) fetchDeb fetchDebSource fetchSource;
  packagesFor = prefixPath: (at prefixPath).packages;
  prefixesFor = prefixPath: (at prefixPath).prefixes;
  imagesFor = prefixPath: (at prefixPath).images;

  # Programs of others that tests compare with; no build depends on them.
  oracles = import ./oracles { inherit builders seed; inherit (stage0) tree; };
}
