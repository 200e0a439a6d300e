# Sources by name, pinned in bootstrap/seed.json, and sources by address.
#
#     fetchDebSource { name = "zlib"; }
#     fetchSource { version = "4.9"; url = "https://…/sed-4.9.tar.xz"; hash = "sha256-…"; }
#
# give `{ version; src; debian; }`: the version as upstream counts, the unpacked tarball and the
# distribution's `debian` directory (null without one). `upstream` lists further URLs of the
# tarball; name one only when the distribution ships upstream's exact bytes. A pin that
# seed.json does not hold is given as `pin = { version; files.orig = { path; sha256; }; }`, or in the
# `pins` of `at`, as `bootstrap/update-seed --pins FILE NAME` writes them.
{ builders, seed }:
let
  # A file of the archive, from any mirror of it or from the public snapshot archive.
  fetchPool =
    {
      path,
      sha256,
      urls ? [ ],
      snapshot ? seed.snapshot,
      ...
    }:
    builders.fetchurl {
      inherit sha256;
      name = baseNameOf path;
      urls = [ "mirror://debian/${path}" ] ++ urls ++ [ "mirror://debian-snapshot/${snapshot}/${path}" ];
    };

  # "1:1.2.13.dfsg-1" → "1.2.13"
  upstreamVersion =
    version:
    let
      core = builtins.elemAt (builtins.match "([0-9]+:)?([0-9a-z.]+)([-+~].*)?" version) 1;
      repacked = builtins.match "(.*)\\.dfsg" core;
    in
    if repacked == null then core else builtins.head repacked;

  # Pins as a set, or the JSON file that holds them.
  read = pins: if builtins.isAttrs pins then pins else builtins.fromJSON (builtins.readFile pins);
in
{
  # The unpacked data of a binary package.
  fetchDeb =
    name:
    builders.unpack {
      name = "${name}-${builtins.replaceStrings [ "+" ] [ "-" ] seed.debs.${name}.version}";
      srcs = [ (fetchPool seed.debs.${name}) ];
    };

  fetchSource =
    {
      url ? null,
      urls ? [ url ],
      hash,
      version,
      name ? "source-${version}",
      strip ? 1,
    }:
    {
      inherit version;
      src = builders.unpack {
        inherit name strip;
        srcs = [ (builders.fetchurl { inherit urls; sha256 = hash; }) ];
      };
      debian = null;
    };

  fetchDebSource =
    {
      name,
      upstream ? [ ],
      strip ? 1,
      pins ? { },
      pin ? (read pins).${name} or seed.sources.${name} or (throw "no source package `${name}` is pinned; `corpus/bootstrap/update-seed --pins pins.json ${name}` writes a pin for `pins = ./pins.json` of `at`"),
    }:
    let
      inherit (pin) version files;
      orig = files.orig or files.native;
      shortVersion = upstreamVersion version;
      fetchFile = file: fetchPool (file // (if pin ? snapshot then { inherit (pin) snapshot; } else { }));
    in
    {
      version = shortVersion;
      src = builders.unpack {
        name = "${name}-${shortVersion}-source";
        srcs = [ (fetchFile (orig // { urls = upstream; })) ];
        inherit strip;
      };
      debian =
        if files ? debian then
          builders.unpack {
            name = "${name}-${shortVersion}-debian";
            srcs = [ (fetchFile files.debian) ];
            strip = 1;
          }
        else
          null;
    };
}
