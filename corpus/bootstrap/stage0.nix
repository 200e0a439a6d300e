# The seed: pinned binary packages, unpacked and united. No maintainer script is run.
#
#     tools      the programs of builds: compiler, binutils, make, shell, coreutils, perl, python
#     libc-dev   the distribution's C headers, start files and link libraries
#
# They are two trees because only the prefix's own C library may be built against `libc-dev`. Every
# other build sees `tools` alone, so a start file or header that is missing in the prefix is an
# error and never silently the distribution's. The programs of `tools` have their own C library at
# run time.
{
  builders,
  fetchDeb,
  seed,
}:
let
  # The links that maintainer scripts would have made.
  links = {
    "usr/bin/gcc" = "gcc-12";
    "usr/bin/g++" = "g++-12";
    "usr/bin/cpp" = "cpp-12";
    "usr/bin/gcc-ar" = "gcc-ar-12";
    "usr/bin/gcc-nm" = "gcc-nm-12";
    "usr/bin/gcc-ranlib" = "gcc-ranlib-12";
    "usr/bin/cc" = "gcc";
    "usr/bin/c++" = "g++";
    "usr/bin/awk" = "gawk";
    "usr/bin/yacc" = "bison.yacc";
    "usr/bin/python3" = "python3.11";
  };
  linksOf =
    name: links:
    builders.write {
      name = "${name}-links";
      files = builtins.mapAttrs (_: target: { link = target; }) links;
    };
in
rec {
  # A set of seed.json as one tree.
  tree =
    {
      set,
      name ? "stage0-${set}",
      extra ? [ ],
    }:
    builders.union {
      inherit name;
      trees = map fetchDeb seed.sets.${set} ++ extra;
      # Documentation only: packages of one source ship the same changelog, packed at different
      # times.
      overlap = "usr/share/doc/**";
    };

  tools = tree {
    set = "tools";
    extra = [ (linksOf "tools" links) ];
  };
  libc-dev = tree { set = "libc-dev"; };
  tcl = tree {
    set = "tcl";
    extra = [ (linksOf "tcl" { "usr/bin/tclsh" = "tclsh8.6"; }) ];
  };
  squashfs = tree { set = "squashfs"; };
}
