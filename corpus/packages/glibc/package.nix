# The C library and the loader, built for the prefix: its path becomes the loader's search path, the
# path of locales and converters, and the interpreter of every program.
#
# This is the one package that sees the distribution's headers and link libraries (its configure
# links test programs); its installed files contain nothing of them.
{
  build,
  fetchDebSource,
  stage0,
}:
build {
  pname = "glibc";
  license = "LGPL-2.1-or-later";
  homepage = "https://www.gnu.org/software/libc/";
  source = fetchDebSource { name = "glibc"; };

  # the stable branch with its security fixes; the tarball lacks the manual, and make must know
  patches = [
    "git-updates.diff"
    "all/local-remove-manual.diff"
    "any/local-qsort-memory-corruption.patch"
  ];
  ownPatches = [
    ./no-host-preload.patch
    ./nss-modules-from-prefix.patch
    ./programs-with-rpath.patch
  ];

  toolchain = [ ];
  tools = [ stage0.libc-dev ];
  environment.PATH = "/usr/bin:/bin";

  # the kernel's headers alone, apart from the distribution's C library
  prepare = ''
    mkdir /build/kernel-headers /build/objects
    ln -s /usr/include/linux /usr/include/asm-generic /usr/include/x86_64-linux-gnu/asm /build/kernel-headers/
    source=$PWD
    cd /build/objects
  '';
  configure = ''
    "$source/configure" --prefix="$prefix" --with-headers=/build/kernel-headers \
      --enable-kernel=4.19 --disable-nscd --disable-build-nscd --disable-werror --disable-profile \
      --enable-stack-protector=strong --enable-bind-now --enable-crypt --without-selinux \
      CFLAGS="-O2 -g0 -ffile-prefix-map=/build=."
  '';
  makeFlags = [ "-s" ];
  installFlags = [ "-s" "-j\"$EVAL_CORES\"" ];

  fixup = ''
    # C.UTF-8 is a locale like any other for this C library, and the one that everything falls back to
    mkdir -p "$root/lib/locale"
    I18NPATH="$source/localedata" GCONV_PATH=/build/objects/iconvdata \
      /build/objects/elf/ld.so --library-path /build/objects /build/objects/locale/localedef \
      --no-archive -i C -f UTF-8 "$root/lib/locale/C.utf8"
    # scripts for a shell or a perl that the prefix does not have
    (
      cd "$root/bin"
      rm -f ldd tzselect xtrace sotruss mtrace catchsegv memusage memusagestat
    )
    # an empty Makefile for databases in /var
    rm -rf "$root/var"
  '';

  rules = [
    [ "lib" "lib/libmemusage.so" ]
    [ "lib" "lib/libpcprofile.so" ]
    [ "locale" "share/i18n/**" ]
  ];
}
