# CPython with the modules of its standard library that need a further C library.
{
  build,
  bzip2,
  ca-certificates,
  expat,
  fetchDebSource,
  gdbm,
  libffi,
  libuuid,
  ncurses,
  openssl,
  readline,
  sqlite,
  tzdata,
  xz,
  zlib,
}:
let
  # --without-ensurepip: pip is not installed; its wheels are there nevertheless, and
  # `python3 -m venv` uses them
  configureFlags = [
    "--enable-shared"
    "--enable-loadable-sqlite-extensions"
    "--with-dbmliborder=gdbm"
    "--with-openssl=$prefix"
    "--with-system-expat"
    "--with-system-ffi"
    "--with-tzpath=$prefix/share/zoneinfo"
    "--without-ensurepip"
    "--without-static-libpython"
  ];
  modules = [
    "_bz2"
    "_crypt"
    "_ctypes"
    "_curses"
    "_curses_panel"
    "_decimal"
    "_elementtree"
    "_gdbm"
    "_hashlib"
    "_lzma"
    "_sqlite3"
    "_ssl"
    "_uuid"
    "_zoneinfo"
    "pyexpat"
    "readline"
    "zlib"
  ];
in
build {
  pname = "python";
  license = "PSF-2.0";
  homepage = "https://www.python.org/";
  source = fetchDebSource {
    name = "python3.11";
    upstream = [ "https://www.python.org/ftp/python/3.11.2/Python-3.11.2.tgz" ];
  };

  # The security and stability fixes of the distribution's series. Its other patches move files to
  # the distribution's paths, or turn ensurepip off; neither belongs here.
  patches = [
    "shutdown-deadlock.diff"
    "frame_dealloc-crash.diff"
    "CVE-2024-0450.patch"
    "CVE-2023-6597.patch"
    "relfile-nullptr-dereference.patch"
    "CVE-2023-41105-path-truncation.patch"
    "CVE-2023-40217-ssl-pre-close-flaw.patch"
    "CVE-2023-40217-ref-cycle.patch"
    "CVE-2023-40217-test-reliability.patch"
    "CVE-2023-24329-strip-control-chars-urlsplit.patch"
    "CVE-2024-0397.diff"
    "CVE-2024-4032.diff"
    "CVE-2024-8088.diff"
    "0001-3.11-gh-123270-Replaced-SanitizedNames-with-a-more-s.patch"
    "CVE-2024-6232.patch"
    "0001-3.11-CVE-2023-27043-gh-102988-Reject-malformed-addre.patch"
    "0002-3.11-gh-121650-Encode-newlines-in-headers-and-verify.patch"
    "0003-3.11-gh-123067-Fix-quadratic-complexity-in-parsing-q.patch"
    "0004-3.11-gh-124651-Quote-template-strings-in-venv-activa.patch"
    "0005-3.11-gh-103848-Adds-checks-to-ensure-that-bracketed-.patch"
    "0001-3.11-gh-105704-Disallow-square-brackets-and-in-domai.patch"
    "0002-3.11-gh-100884-email-_header_value_parser-don-t-enco.patch"
    "0003-3.11-gh-118643-Fix-AttributeError-in-the-email-modul.patch"
    "CVE-2025-4516-1.patch"
    "CVE-2025-4516-2.patch"
    "CVE-2025-6069.patch"
    "CVE-2025-6075.patch"
    "CVE-2025-8194.patch"
    "CVE-2025-8291.patch"
    "CVE-2025-12084.patch"
    "CVE-2025-13836.patch"
    "CVE-2025-13837.patch"
    "CVE-2026-0865-1.patch"
    "CVE-2026-0865-2.patch"
    "CVE-2026-0672.patch"
    "CVE-2025-15282.patch"
    "CVE-2025-11468.patch"
    "CVE-2026-1299.patch"
    "CVE-2026-4224.patch"
    "CVE-2026-4519-1.patch"
    "CVE-2026-4519-2.patch"
    "CVE-2026-4519-3.patch"
    "CVE-2026-3644.patch"
    "CVE-2026-6100.patch"
    "CVE-2026-2297.patch"
    "CVE-2025-13462.patch"
    "skip-xml-tests-expat-CVE-2023-52425.patch"
  ];
  ownPatches = [
    ./no-probing-above-prefix.patch
    ./pyexpat-core-headers.patch
  ];

  inputs = [
    bzip2
    ca-certificates
    expat
    gdbm
    libffi
    libuuid
    ncurses
    openssl
    readline
    sqlite
    tzdata
    xz
    zlib
  ];

  configure = ''
    export CPPFLAGS="-I$prefix/include -I$prefix/include/ncursesw" LDFLAGS="-L$prefix/lib"
    ./configure --prefix="$prefix" ${builtins.concatStringsSep " " configureFlags}
  '';
  make = ''
    parallel_make
    # a module that cannot be built is left out in silence: ask for those that this package is for
    LD_LIBRARY_PATH="$PWD" ./python -c 'import ${builtins.concatStringsSep ", " modules}'
  '';
  install = ''
    # the prefix compiles modules when it is finished, once and not at three levels
    sed -i '/^\t-PYTHONPATH=/,/[^\\]$/d' Makefile
    make install DESTDIR="$out"
  '';
  fixup = ''
    stdlib="$root/lib/python3.11"
    config=$(echo "$stdlib"/config-3.11-*)
    # tests that this release forgets to install
    cp -r Lib/test/test_sqlite3 "$stdlib/test/"
    # a build folder that does not exist any more: what is left of it is the config folder
    sed -i "s|/build/python-3.11.2|''${config#"$out"}|g" "$stdlib"/_sysconfigdata_*.py "$config/Makefile"
    # modules are not programs, and their first lines name interpreters of some host
    find "$stdlib" -type f -name '*.py' -exec chmod a-x {} +
    rm -f "$stdlib/ctypes/macholib/fetch_macholib" "$stdlib/ctypes/macholib/fetch_macholib.bat"
    find "$root" -name __pycache__ -prune -exec rm -rf {} +
    # no tk in the prefix
    rm -rf "$root"/bin/idle3* "$stdlib/idlelib" "$stdlib/turtledemo"
  '';

  rules = [
    # sysconfig reads these two when a program asks
    [ "lib" "lib/python3.11/config-3.11-*/Makefile" ]
    [ "lib" "include/python3.11/pyconfig.h" ]
    [ "lib" "lib/libpython3.so" ]
    [ "dev" "lib/python3.11/config-3.11-*/**" ]
    [ "test" "lib/python3.11/test/**" ]
    [ "test" "lib/python3.11/**/test/**" ]
    [ "test" "lib/python3.11/**/tests/**" ]
    [ "test" "lib/python3.11/lib-dynload/_test*" ]
    [ "test" "lib/python3.11/lib-dynload/_xxtestfuzz*" ]
    [ "test" "lib/python3.11/lib-dynload/xxlimited*" ]
  ];

  # Compiled modules without a check at run time: a prefix does not change under its programs.
  integration = ''
    mkdir -p "$out$prefix/lib"
    cp -r "$prefix/lib/python3.11" "$out$prefix/lib/"
    chmod -R u+w "$out$prefix/lib/python3.11"
    "$prefix/bin/python3" -m compileall -q -j "$EVAL_CORES" --invalidation-mode unchecked-hash \
      -s "$out" -p / -x 'lib2to3/tests|site-packages' "$out$prefix/lib/python3.11"
    find "$out$prefix/lib/python3.11" ! -type d ! -name '*.pyc' -delete
    find "$out$prefix/lib/python3.11" -type d -empty -delete
  '';
}
