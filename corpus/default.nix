# The corpus: from pinned binaries to prefixes and images.
#
#     (import ./corpus { }).packagesFor "/opt/x"
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

  # The names in a directory that `keep` accepts, each imported and called with its arguments.
  call = scope: file: let f = import file; in f (builtins.intersectAttrs (builtins.functionArgs f) scope);
  directories =
    dir: builtins.filter (name: (builtins.readDir dir).${name} == "directory") (builtins.attrNames (builtins.readDir dir));
  nixFiles =
    dir:
    builtins.concatMap (
      file: let name = builtins.match "(.*)\\.nix" file; in if name == null then [ ] else name
    ) (builtins.attrNames (builtins.readDir dir));
  fromList = f: names: builtins.listToAttrs (map (name: { inherit name; value = f name; }) names);

  # Everything for one prefix path.
  at =
    prefixPath:
    if builtins.match "(/[A-Za-z0-9._+-]+)+" prefixPath == null then
      throw "the prefix path `${prefixPath}` has to be absolute, of letters, digits and ._+-, and without a slash at the end"
    else
    let
      domains = import ./lib/domains.nix { inherit builders prefixPath; };
      builder = import ./lib/build.nix { inherit builders domains prefixPath stage0; };

      # The parts of the prefix that a build sees before its own inputs, and the libraries that
      # every program in it uses.
      toolchain = [ packages.compiler ] ++ map (p: domains.select p [ "cxx" "dev" "lib" ]) [
        packages.gcc-runtime
        packages.glibc
        packages.linux-headers
      ];
      runtime = [
        packages.glibc
        packages.gcc-runtime
      ];

      scope = packages // {
        inherit builders stage0 prefixPath;
        inherit (fetch) fetchDeb fetchDebSource;
        build = args: builder.build ({ inherit toolchain; } // args);
        prefix = import ./lib/prefix.nix {
          inherit builders domains prefixPath stage0 runtime;
          inherit (builder) closure;
        };
        sysext = import ./lib/sysext.nix { inherit builders stage0; };
        select = domains.select;
        prefixes = prefixes;
      };
      packages = fromList (name: call scope (./packages + "/${name}/package.nix")) (directories ./packages);
      prefixes = fromList (name: call scope (./prefixes + "/${name}.nix")) (nixFiles ./prefixes);
      images = fromList (name: call scope (./images + "/${name}.nix")) (nixFiles ./images);
      checks = fromList (name: call scope (./checks + "/${name}.nix")) (nixFiles ./checks);
    in
    {
      inherit packages prefixes images checks;
    };
in
{
  inherit at stage0 builders;
  packagesFor = prefixPath: (at prefixPath).packages;
  prefixesFor = prefixPath: (at prefixPath).prefixes;
  imagesFor = prefixPath: (at prefixPath).images;

  # Programs of others that tests compare with; no build depends on them.
  oracles = import ./oracles { inherit builders seed; inherit (stage0) tree; };
}
