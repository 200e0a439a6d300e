{
  description = "prefixes, system extensions and images from pinned sources";

  outputs =
    { ... }:
    let
      corpus = import ./corpus { };
      prefixPath = "/usr/local/my-stuff";
      here = corpus.at prefixPath;
      rename = suffix: set: builtins.listToAttrs (
        map (name: { name = name + suffix; value = set.${name}; }) (builtins.attrNames set)
      );
    in
    {
      # every package, for this prefix path
      packages.x86_64-linux =
        here.packages
        // rename "-prefix" here.prefixes
        // here.images
        // here.checks
        // corpus.oracles
        // {
          stage0 = corpus.stage0.tools;
        };

      # for any other path: `(eval expr …).lib.at "/opt/x"`
      lib = corpus;
    };
}
