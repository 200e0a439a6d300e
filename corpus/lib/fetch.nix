# Sources by name, pinned in bootstrap/seed.json.
#
#     fetchDebSource { name = "zlib"; }
#
# gives `{ version; src; debian; }`: the version as upstream counts, the unpacked tarball and the
# distribution's `debian` directory (null for a native package). `upstream` lists further URLs of
# the tarball; name one only when the distribution ships upstream's exact bytes.
{ builders, seed }:
let
  # A file of the archive, from any mirror of it or from the public snapshot archive.
  fetchPool =
    {
      path,
      sha256,
      urls ? [ ],
      ...
    }:
    builders.fetchurl {
      inherit sha256;
      name = baseNameOf path;
      urls = [ "mirror://debian/${path}" ] ++ urls ++ [ "mirror://debian-snapshot/${seed.snapshot}/${path}" ];
    };

  # "1:1.2.13.dfsg-1" → "1.2.13"
  upstreamVersion =
    version:
    let
      core = builtins.elemAt (builtins.match "([0-9]+:)?([0-9a-z.]+)([-+~].*)?" version) 1;
      repacked = builtins.match "(.*)\\.dfsg" core;
    in
    if repacked == null then core else builtins.head repacked;
in
{
  inherit fetchPool;

  # The unpacked data of a binary package.
  fetchDeb =
    name:
    builders.unpack {
      name = "${name}-${builtins.replaceStrings [ "+" ] [ "-" ] seed.debs.${name}.version}";
      srcs = [ (fetchPool seed.debs.${name}) ];
    };

  fetchDebSource =
    {
      name,
      upstream ? [ ],
      strip ? 1,
    }:
    let
      inherit (seed.sources.${name}) version files;
      orig = files.orig or files.native;
      shortVersion = upstreamVersion version;
    in
    {
      version = shortVersion;
      src = builders.unpack {
        name = "${name}-${shortVersion}-source";
        srcs = [ (fetchPool (orig // { urls = upstream; })) ];
        inherit strip;
      };
      debian =
        if files ? debian then
          builders.unpack {
            name = "${name}-${shortVersion}-debian";
            srcs = [ (fetchPool files.debian) ];
            strip = 1;
          }
        else
          null;
    };
}
