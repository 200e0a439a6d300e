# Everything for one prefix path: the packages of the corpus, and one's own beside them.
#
#     at {
#       path = "/opt/mytools";
#       packages = ./packages;               # sed.nix or sed/package.nix, a function of what it needs
#       prefixes.mytools = { prefix, sed }: prefix { name = "mytools"; packages = [ sed ]; };
#     }
#
# A name given here replaces that of the corpus, for every package that uses it. `overlays` change
# packages as in nixpkgs: `[ (final: prev: { zlib = prev.zlib.overrideAttrs { … }; }) ]`.
#
# The result holds `packages`, `prefixes`, `images` and `checks` (those of the corpus too), the
# functions that the files take as arguments (`build`, `prefix`, `sysext`, …), and `flake`: the
# outputs of a flake with one's own packages, prefixes and images.
{
  builders,
  fetch,
  stage0,
}:
let
  inherit (import ./call.nix) collect callWith union;

  set =
    {
      path,
      packages ? { },
      prefixes ? { },
      images ? { },
      checks ? { },
      overlays ? [ ],
      # Pins of further sources: a set as in seed.json's `sources`, or a JSON file with them.
      pins ? { },
    }:
    let
      own = builtins.mapAttrs (_: collect) { inherit packages prefixes images checks; };
      corpus = builtins.mapAttrs (_: collect) {
        packages = ../packages;
        prefixes = ../prefixes;
        images = ../images;
        checks = ../checks;
      };
      call = callWith scope;
      called = kind: builtins.mapAttrs (_: call) (corpus.${kind} // own.${kind});

      final = builtins.foldl' (prev: overlay: prev // overlay final prev) (called "packages") overlays;
      result = {
        inherit path;
        packages = final;
        prefixes = called "prefixes";
        images = called "images";
        checks = called "checks";
      };

      domains = import ./domains.nix { inherit builders; prefixPath = path; };
      builder = import ./build.nix { inherit builders domains stage0; prefixPath = path; };

      # The parts of the prefix that a build sees before its own inputs, and the libraries that
      # every program in it uses.
      toolchain = [ final.compiler ] ++ map (p: domains.select p [ "cxx" "dev" "lib" ]) [
        final.gcc-runtime
        final.glibc
        final.linux-headers
      ];
      runtime = [
        final.glibc
        final.gcc-runtime
      ];

      # Functions that the files of packages, prefixes and images take as arguments.
      functions = {
        inherit builders stage0;
        inherit (fetch) fetchDeb fetchSource;
        inherit (domains) select;
        prefixPath = path;
        callPackage = file: arguments: callWith (scope // arguments) file;
        build = arguments: builder.build ({ inherit toolchain; } // arguments);
        prefix = import ./prefix.nix {
          inherit builders domains runtime stage0;
          inherit (builder) closure;
          prefixPath = path;
        };
        sysext = import ./sysext.nix { inherit builders stage0; };
        fetchDebSource = arguments: fetch.fetchDebSource ({ inherit pins; } // arguments);
      };
      scope = final // functions // { inherit (result) prefixes; };

      suffixed =
        suffix: names:
        builtins.listToAttrs (
          map (name: { name = name + suffix; value = result.prefixes.${name}; }) (builtins.attrNames names)
        );
      outputs =
        kinds:
        union "output" (
          {
            packages = builtins.intersectAttrs kinds.packages final;
            prefixes = suffixed "-prefix" kinds.prefixes;
            images = builtins.intersectAttrs kinds.images result.images;
            checks = builtins.intersectAttrs kinds.checks result.checks;
          }
        );
      overlaid = builtins.foldl' (names: overlay: names // overlay final final) { } overlays;
    in
    result
    // functions
    // {
      flake = {
        packages.${builders.system} = outputs (own // { packages = overlaid // own.packages; checks = { }; });
        legacyPackages.${builders.system} = outputs (result // { checks = { }; });
        checks.${builders.system} = builtins.intersectAttrs own.checks result.checks;
      };
      # The outputs of the corpus itself.
      all = outputs result;
    };

  # Text between slashes, where `.` and `..` are no names.
  part = "[A-Za-z0-9_+-][A-Za-z0-9._+-]*|[.][A-Za-z0-9_+-][A-Za-z0-9._+-]*";
  checked =
    arguments:
    if builtins.match "(/(${part}))+" arguments.path == null then
      throw "the prefix path `${arguments.path}` has to be absolute, of letters, digits and ._+-, without `.` or `..` as a part, and without a slash at the end"
    else
      set arguments;
in
argument: checked (if builtins.isAttrs argument then argument else { path = argument; })
