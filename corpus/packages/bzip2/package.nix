{ build, fetchDebSource }:
build {
  pname = "bzip2";
  license = "bzip2-1.0.6";
  homepage = "https://sourceware.org/bzip2/";
  source = fetchDebSource {
    name = "bzip2";
    upstream = [ "https://sourceware.org/pub/bzip2/bzip2-1.0.8.tar.gz" ];
  };
  patches = [ "bzip2recover-race-open-output.diff" ];
  configure = "";
  make = ''
    parallel_make -f Makefile-libbz2_so CC="$CC" CFLAGS="$CFLAGS -fpic -D_FILE_OFFSET_BITS=64"
    parallel_make CC="$CC" CFLAGS="$CFLAGS -D_FILE_OFFSET_BITS=64" bzip2 bzip2recover libbz2.a
  '';
  install = ''
    root="$out$prefix"
    install -Dm755 -t "$root/bin" bzip2 bzip2recover
    install -Dm644 -t "$root/include" bzlib.h
    install -Dm644 -t "$root/lib" libbz2.a
    install -Dm755 -t "$root/lib" libbz2.so.1.0.8
    ln -s libbz2.so.1.0.8 "$root/lib/libbz2.so.1.0"
    ln -s libbz2.so.1.0.8 "$root/lib/libbz2.so"
    install -Dm644 -t "$root/share/man/man1" bzip2.1
  '';
  fixup = ''
    for name in bunzip2 bzcat; do ln -sf bzip2 "$root/bin/$name"; done
  '';
}
