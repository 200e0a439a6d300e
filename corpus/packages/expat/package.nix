# The tarball is a snapshot of upstream's repository without a configure script. The library is
# three files, so they are compiled here, with the name and interface version that upstream's own
# build gives them.
{ build, fetchDebSource }:
build {
  pname = "expat";
  license = "MIT";
  homepage = "https://libexpat.github.io/";
  source = fetchDebSource { name = "expat"; };
  patches = [
    "CVE-2024-45490.patch"
    "CVE-2024-45491.patch"
    "CVE-2024-45492.patch"
    "expat-2.5.0-CVE-2023-52425.patch"
    "expat-2.5.0-CVE-2024-50602.patch"
    "expat-2.5.0-CVE-2024-8176.patch"
  ];
  configure = ''
    cd expat/lib
    cat > expat_config.h <<EOF
    #define BYTEORDER 1234
    #define HAVE_GETRANDOM 1
    #define XML_CONTEXT_BYTES 1024
    #define XML_DTD 1
    #define XML_NS 1
    EOF
  '';
  make = ''
    $CC $CFLAGS -fPIC -fvisibility=hidden -DXML_ENABLE_VISIBILITY=1 -DHAVE_EXPAT_CONFIG_H -I. -shared \
      -Wl,-soname,libexpat.so.1 -o libexpat.so.1.8.10 xmlparse.c xmlrole.c xmltok.c
  '';
  install = ''
    root="$out$prefix"
    install -Dm755 -t "$root/lib" libexpat.so.1.8.10
    ln -s libexpat.so.1.8.10 "$root/lib/libexpat.so.1"
    ln -s libexpat.so.1.8.10 "$root/lib/libexpat.so"
    install -Dm644 -t "$root/include" expat.h expat_external.h expat_config.h
    mkdir -p "$root/lib/pkgconfig"
    sed -e "s|@prefix@|$prefix|; s|@exec_prefix@|$prefix|; s|@libdir@|$prefix/lib|; s|@includedir@|$prefix/include|" \
      -e "s|@PACKAGE_NAME@|expat|; s|@PACKAGE_VERSION@|2.5.0|; s|@PACKAGE_URL@|https://libexpat.github.io/|" \
      -e 's|@[A-Z_]*@||g' ../expat.pc.in > "$root/lib/pkgconfig/expat.pc"
  '';
}
