# A systemd-sysext image: one squashfs file that overlays /usr and /opt.
#
#     sysext { name = "python"; tree = pythonPrefix; }
#     sysext { name = "agent"; tree = agentPrefix; version = "1.4"; files."usr/lib/systemd/system/agent.service".text = "…"; reload = true; }
#
# gives a directory with `python.raw`. systemd refuses an image whose name is not that of its
# extension-release file, and does so silently, with exit status 0; so both come from `name`. With a
# `version` the image is `NAME-VERSION-x86-64.raw`, as an update service matches it, and `NAME.raw`
# a link to it; `SHA256SUMS` lists it.
#
# `ID=_any` fits every distribution, as the prefix uses nothing of it. `release` sets other fields of
# the extension-release file: `{ ID = "flatcar"; SYSEXT_LEVEL = "1.0"; }`; null leaves one out. The
# image is bit for bit the same on every machine.
{ builders, stage0 }:
{
  name,
  tree,
  version ? null,
  # Fields of extension-release beside, or instead of, the standard ones.
  release ? { },
  # Makes systemd read its units again after a merge.
  reload ? false,
  # Further files below usr/ or opt/, as `builders.write` takes them: units, presets.
  files ? { },
}:
let
  fields =
    {
      ID = "_any";
      ARCHITECTURE = "x86-64";
      EXTENSION_RELOAD_MANAGER = if reload then "1" else null;
    }
    // release;
  given = builtins.filter (field: fields.${field} != null) (
    # the order of the standard fields first, so that a further field leaves the others where they are
    [ "ID" "ARCHITECTURE" "EXTENSION_RELOAD_MANAGER" ] ++ builtins.attrNames (builtins.removeAttrs fields [ "ID" "ARCHITECTURE" "EXTENSION_RELOAD_MANAGER" ])
  );
  releaseFile = builders.write {
    name = "${name}-extension-release";
    files =
      files
      // {
        "usr/lib/extension-release.d/extension-release.${name}".text = builtins.concatStringsSep "" (
          map (field: "${field}=${fields.${field}}\n") given
        );
      };
  };

  prefixPath = tree.prefixPath or "/usr";
  outside = builtins.filter (file: builtins.match "(usr|opt)/.*" file == null) (builtins.attrNames files);
  image = if version == null then "${name}.raw" else "${name}-${version}-x86-64.raw";
in
if builtins.match "/(usr|opt)(/.*)?" prefixPath == null then
  throw "a system extension shows /usr and /opt only: the prefix at `${prefixPath}` would never be seen"
else if outside != [ ] then
  throw "a system extension shows /usr and /opt only: the file `${builtins.head outside}` would never be seen"
else
derivation {
  name = "${name}-sysext";
  inherit (builders) system;
  builder = "/bin/bash";
  args = [
    "-c"
    (
      ''
        set -eux -o pipefail
        # the time is given twice below, and mksquashfs refuses to be told a third time
        unset SOURCE_DATE_EPOCH
        mkdir -p "$out"
        mksquashfs /source/tree "$out/${image}" -comp zstd -b 131072 -all-root -noappend -no-progress -no-xattrs \
          -no-exports -mkfs-time 1700000000 -all-time 1700000000 -processors "$EVAL_CORES" -quiet
      ''
      + (
        if version == null then
          ""
        else
          ''
            cd "$out"
            ln -s ${image} ${name}.raw
            sha256sum ${image} > SHA256SUMS
          ''
      )
    )
  ];
  __rootfs = [
    stage0.tools
    stage0.squashfs
  ];
  __sources = builtins.toJSON {
    tree = builders.union {
      name = "${name}-sysext-tree";
      trees = [
        tree
        releaseFile
      ];
    };
  };
}
