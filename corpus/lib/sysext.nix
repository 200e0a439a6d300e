# A systemd-sysext image: one squashfs file that overlays /usr and /opt.
#
#     sysext { name = "python"; tree = pythonPrefix; }
#
# gives a directory with `python.raw`. systemd refuses an image whose name is not that of its
# extension-release file, and does so silently, with exit status 0; so both come from `name`.
# `ID=_any` fits every distribution, as the prefix uses nothing of it. The image is bit for bit the
# same on every machine.
{ builders, stage0 }:
{ name, tree }:
let
  release = builders.write {
    name = "${name}-extension-release";
    files."usr/lib/extension-release.d/extension-release.${name}".text = ''
      ID=_any
      ARCHITECTURE=x86-64
    '';
  };
in
derivation {
  name = "${name}-sysext";
  inherit (builders) system;
  builder = "/bin/bash";
  args = [
    "-c"
    ''
      set -eux -o pipefail
      # the time is given twice below, and mksquashfs refuses to be told a third time
      unset SOURCE_DATE_EPOCH
      mkdir -p "$out"
      mksquashfs /source/tree "$out/${name}.raw" -comp zstd -b 131072 -all-root -noappend -no-progress -no-xattrs \
        -no-exports -mkfs-time 1700000000 -all-time 1700000000 -processors "$EVAL_CORES" -quiet
    ''
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
        release
      ];
    };
  };
}
