# A package from source: the phases unpack, patch, configure, make, install, fixup.
#
#     build {
#       pname = "zlib";
#       license = "Zlib";
#       homepage = "https://zlib.net/";
#       source = fetchDebSource { name = "zlib"; };
#       inputs = [ ];                        # packages of the same prefix
#       configureFlags = [ "--prefix=$prefix" ];
#     }
#
# The phases are shell text, run by bash with `-eux -o pipefail`, so the log ends with the command
# that failed. `$prefix` is the prefix, `$out` the directory that is `/` at install time, `$root` is
# `$out$prefix`.
#
# The build sees the seed's tools, the prefix toolchain, and the `dev` and `lib` domains of its
# inputs at the prefix. Its result, and so the key under which it is cached, depends on their
# contents only.
#
# `(build { … }).overrideAttrs { … }`, or `(old: { … })`, is the package with other arguments.
{
  builders,
  domains,
  prefixPath,
  stage0,
}:
let
  inherit (import ./call.nix) isFunction;

  # Every package reachable over `inputs`, each once, in a fixed order. One prefix has one package
  # of a name: a second one with another recipe would mix with it silently.
  closure =
    packages:
    let
      nodes = map (package: { key = package.drvPath; inherit package; });
      found = map (node: node.package) (
        builtins.genericClosure {
          startSet = nodes packages;
          operator = node: nodes node.package.inputs;
        }
      );
      named = builtins.groupBy (package: package.pname) found;
      twice = builtins.filter (name: builtins.length named.${name} > 1) (builtins.attrNames named);
    in
    if twice == [ ] then
      found
    else
      throw "two different packages `${builtins.head twice}` are used together; override it once for the whole set, with `overlays` of `at`";

  lines = builtins.concatStringsSep "\n";
  words = builtins.concatStringsSep " ";

  phase =
    name: text:
    if text == "" then
      ""
    else
      ''
        { set +x; } 2>/dev/null; echo "@phase ${name}"; set -x
        ${text}
      '';

  make =
    {
      pname,
      license,
      homepage ? null,
      version ? source.version,
      # `{ src; version; debian; }` of fetchDebSource or fetchSource.
      source ? null,
      # The unpacked source alone, for a tree from elsewhere.
      src ? source.src or null,
      # Further trees and files, at /source/<name>.
      sources ? { },
      # Names below the distribution's debian/patches, in the order of its series.
      patches ? [ ],
      # Patch files of our own, from the package's directory.
      ownPatches ? [ ],
      # Packages of the same prefix that this one is compiled against and uses at run time.
      inputs ? [ ],
      # Trees with further build programs.
      tools ? [ ],
      # The prefix toolchain; packages of the toolchain itself have none.
      toolchain,
      # Further environment variables.
      environment ? { },
      unpack ? null,
      prepare ? "",
      configureFlags ? [ ],
      configure ? ''
        ./configure --prefix="$prefix" ${words configureFlags}
      '',
      makeFlags ? [ ],
      make ? ''
        parallel_make ${words makeFlags}
      '',
      installFlags ? makeFlags,
      install ? ''
        make install DESTDIR="$out" ${words installFlags}
      '',
      # After the install: corrections for this package.
      fixup ? "",
      # Domain rules that come before the standard ones.
      rules ? [ ],
      # A command of the finished prefix; see prefix.nix.
      integration ? "",
    }:
    let
      ownPatchName = file: "own-${baseNameOf file}";
      allSources =
        (if src == null then { } else { inherit src; })
        // (if (source.debian or null) == null || patches == [ ] then { } else { inherit (source) debian; })
        // builtins.listToAttrs (map (file: { name = ownPatchName file; value = "${file}"; }) ownPatches)
        // sources;
      applied = map (p: "/source/debian/patches/${p}") patches ++ map (p: "/source/${ownPatchName p}") ownPatches;

      script = lines [
        "set -eu -o pipefail"
        # bash reads this text from its arguments; what it starts must not wait for input
        "exec </dev/null"
        # `parallel_make` takes its share of the machine's cores; plain `make`, as for installing,
        # runs one thing at a time
        "tokens=$MAKEFLAGS"
        "unset MAKEFLAGS"
        "exec 198<&- 199>&-"
        "parallel_make() { MAKEFLAGS=$tokens make \"$@\" 198</dev/jobserver 199>/dev/jobserver; }"
        (phase "unpack" (
          if unpack != null then
            unpack
          else if src == null then
            ""
          else
            ''
              cp -a /source/src "/build/${pname}-${version}"
              chmod -R u+w "/build/${pname}-${version}"
              cd "/build/${pname}-${version}"
            ''
        ))
        (phase "patch" (
          if applied == [ ] then
            ""
          else
            ''
              for patch in ${words applied}; do patch -p1 -i "$patch"; done
              # one time for all files: make must not regenerate what the tarball ships generated
              find . -exec touch -h -d @1 {} +
            ''
        ))
        (phase "prepare" prepare)
        (phase "configure" configure)
        (phase "make" make)
        (phase "install" install)
        (phase "fixup" ''
          root="$out$prefix"
          ${fixup}
          # libtool's archives name build folders, and nothing here needs them; the info index is different in every package
          find "$out" -name '*.la' -delete
          rm -f "$root/share/info/dir" "$root/etc/ld.so.cache"
          find "$out" -type d -empty -delete
        '')
      ];

      package = derivation (
        {
          name = builders.storeName "${pname}-${version}";
          inherit (builders) system;
          builder = "/bin/bash";
          args = [ "-c" script ];
          prefix = prefixPath;
          PATH = "/toolchain/bin:/usr/bin:/bin";
          # the seed's dash: a configure script takes a quarter less CPU than with bash
          CONFIG_SHELL = "/bin/sh";
          PKG_CONFIG_LIBDIR = "${prefixPath}/lib/pkgconfig";
          CC = "gcc";
          CXX = "g++";
          CFLAGS = "-O2 -g0";
          CXXFLAGS = "-O2 -g0";
          # the seed's make is older than the form that is a path
          __jobserver = "descriptors";
          __rootfs = [ stage0.tools ] ++ tools ++ toolchain ++ map (p: domains.select p [ "dev" "lib" ]) (closure inputs);
          __sources = builtins.toJSON allSources;
        }
        // environment
      );
    in
    package // {
      inherit pname version license homepage inputs rules integration src;
    };

  build =
    arguments:
    make arguments
    // {
      overrideAttrs = new: build (arguments // (if isFunction new then new arguments else new));
    };
in
{
  inherit build closure;
}
