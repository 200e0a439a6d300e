# The terminal library and its database. Programs read the prefix's own terminfo and no other, so a
# terminal is the same on every host.
{ build, fetchDebSource }:
build {
  pname = "ncurses";
  license = "X11";
  homepage = "https://invisible-island.net/ncurses/";
  source = fetchDebSource {
    name = "ncurses";
    upstream = [ "https://ftp.gnu.org/gnu/ncurses/ncurses-6.4.tar.gz" ];
  };
  patches = [
    "fix_crash_on_very_long_tc-use_clause.diff"
    "debian-env-access.diff"
  ];
  configureFlags = [
    "--with-shared"
    "--without-debug"
    "--without-ada"
    "--without-normal"
    "--without-cxx-binding"
    "--without-manpages"
    "--without-tests"
    "--enable-widec"
    "--disable-root-environ"
    "--disable-stripping"
    "--enable-pc-files"
    "--with-pkg-config-libdir=$prefix/lib/pkgconfig"
    "--with-default-terminfo-dir=$prefix/share/terminfo"
    "--with-terminfo-dirs=$prefix/share/terminfo"
  ];
  fixup = ''
    # the wide library serves under the plain names too
    for name in ncurses form menu panel; do
      ln -s "lib''${name}w.so" "$root/lib/lib$name.so"
    done
    ln -s libncursesw.so "$root/lib/libcurses.so"
    ln -s libncursesw.so "$root/lib/libtinfo.so"
    rm -f "$root/lib/terminfo"
  '';
}
