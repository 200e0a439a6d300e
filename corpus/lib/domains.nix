# Domains: the named parts of a package's files.
#
#     bin      programs                               lib     files that programs need at run time
#     dev      headers, link libraries, pkg-config    doc     manuals
#     locale   translations                           debug   detached debug information
#
# A package can put its own rules before these, and name further domains (`test`, …).
{ builders, prefixPath }:
let
  # Rules are written relative to the prefix; a tree has it at its full path.
  below = glob: builtins.substring 1 (-1) prefixPath + "/" + glob;

  standard = [
    [ "dev" "include/**" ]
    [ "dev" "lib/*.a" ]
    [ "dev" "lib/*.o" ]
    [ "dev" "lib/*.so" ]
    [ "dev" "lib/pkgconfig/**" ]
    [ "dev" "lib/cmake/**" ]
    [ "dev" "share/aclocal/**" ]
    [ "dev" "share/pkgconfig/**" ]
    [ "dev" "bin/*-config" ]
    [ "doc" "share/doc/**" ]
    [ "doc" "share/info/**" ]
    [ "doc" "share/man/**" ]
    [ "locale" "share/locale/**" ]
    [ "debug" "lib/debug/**" ]
    [ "bin" "bin/**" ]
    [ "bin" "sbin/**" ]
    [ "bin" "libexec/**" ]
    [ "lib" "**" ]
  ];
in
{
  # The given domains of a package as a tree.
  select =
    package: domains:
    builders.union {
      name = "${package.pname}-${builtins.concatStringsSep "-" domains}";
      trees = [ package ];
      rules = map (rule: [ (builtins.head rule) (below (builtins.elemAt rule 1)) ]) (package.rules ++ standard);
      inherit domains;
    };
}
