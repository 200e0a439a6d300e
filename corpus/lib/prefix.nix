# A finished prefix: the run-time domains of packages and of their run-time closure, united,
# completed and audited.
#
#     prefix { name = "python"; packages = [ python ]; }
#
# The result is a root holding nothing but the prefix: copy it to `/` and run it.
#
# After the union each package's `integration` runs once, with the whole prefix at its path
# (read-only) and the seed's shell and coreutils around it. The files that it writes below
# `$out$prefix` are added: compiled modules, caches. Then the audit checks every file; `allow` lists
# the accepted findings, as `[ glob text ]`.
{
  builders,
  closure,
  domains,
  prefixPath,
  runtime,
  stage0,
}:
{
  name,
  packages,
  keep ? [ "bin" "lib" ],
  allow ? [ ],
}:
let
  members = closure (packages ++ runtime);
  united = builders.union {
    name = "${name}-united";
    trees = map (package: domains.select package keep) members;
  };
  commands = builtins.filter (package: package.integration != "") members;
  integrated = derivation {
    name = "${name}-integrated";
    inherit (builders) system;
    builder = "/bin/bash";
    args = [
      "-c"
      ''
        set -eu -o pipefail
        exec </dev/null
        mkdir -p "$out"
        ${builtins.concatStringsSep "\n" (
          map (package: ''
            { set +x; } 2>/dev/null; echo "@phase ${package.pname}"; set -x
            ${package.integration}
          '') commands
        )}
      ''
    ];
    prefix = prefixPath;
    __rootfs = [
      stage0.tools
      united
    ];
  };
in
builders.audit {
  inherit name allow;
  path = prefixPath;
  tree =
    if commands == [ ] then
      united
    else
      builders.union {
        name = "${name}-complete";
        trees = [
          united
          integrated
        ];
      };
}
// {
  inherit prefixPath;
}
