{
  description = "prefixes, system extensions and images from pinned sources";

  outputs =
    { ... }:
    let
      corpus = import ./corpus { };
      here = corpus.at "/usr/local/my-stuff";
    in
    {
      # every package, for this prefix path
      packages.x86_64-linux =
        here.all
        // corpus.oracles
        // {
          stage0 = corpus.stage0.tools;
        };
      checks.x86_64-linux = here.checks;

      # for packages, prefixes and images of other flakes, at paths of their own
      lib = corpus;
    };
}
