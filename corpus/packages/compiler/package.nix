# The compiler of the prefix: the seed's gcc, configured with the paths of the prefix.
#
# Start files, headers and libraries come from the prefix and from gcc's own directory, in that
# order; the seed's link libraries are not even in the sandbox. Programs are linked with the
# prefix's loader and an rpath of the old kind (DT_RPATH): the newer DT_RUNPATH comes after
# LD_LIBRARY_PATH, and a host's setting of it would win.
{ builders, prefixPath }:
let
  wrapper = program: {
    executable = true;
    text = ''
      #!/bin/sh
      # a multiarch name would make build systems look in the distribution's folders
      case "$1" in -print-multiarch|--print-multiarch) exit 0;; esac
      exec /usr/bin/x86_64-linux-gnu-${program}-12 --sysroot=/toolchain/sysroot -B${prefixPath}/lib/ \
        -ffile-prefix-map=/build=. -Wl,--dynamic-linker=${prefixPath}/lib/ld-linux-x86-64.so.2 \
        -Wl,-rpath,${prefixPath}/lib -Wl,--disable-new-dtags "$@" -L${prefixPath}/lib
    '';
  };
in
builders.write {
  name = "compiler";
  files = {
    "toolchain/bin/gcc" = wrapper "gcc";
    "toolchain/bin/g++" = wrapper "g++";
    "toolchain/bin/cpp" = wrapper "cpp";
    "toolchain/bin/cc".link = "gcc";
    "toolchain/bin/c++".link = "g++";
    # gcc's search path for headers, and the linker's for libraries
    "toolchain/sysroot/usr".link = prefixPath;
    "toolchain/sysroot/lib".link = "${prefixPath}/lib";
  };
}
