# The kernel's interface as C headers, for everything that is compiled against the prefix.
{ build, fetchDeb }:
build {
  pname = "linux-headers";
  version = "6.1";
  license = "GPL-2.0-only WITH Linux-syscall-note";
  sources.headers = fetchDeb "linux-libc-dev";
  toolchain = [ ];
  configure = "";
  make = "";
  install = ''
    mkdir -p "$out$prefix/include"
    cp -r --no-preserve=mode /source/headers/usr/include/. "$out$prefix/include/"
    mv "$out$prefix/include/x86_64-linux-gnu/asm" "$out$prefix/include/asm"
    rmdir "$out$prefix/include/x86_64-linux-gnu"
  '';
}
