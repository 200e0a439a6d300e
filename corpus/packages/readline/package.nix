{
  build,
  fetchDebSource,
  ncurses,
}:
build {
  pname = "readline";
  license = "GPL-3.0-or-later";
  homepage = "https://tiswww.case.edu/php/chet/readline/rltop.html";
  source = fetchDebSource {
    name = "readline";
    upstream = [ "https://ftp.gnu.org/gnu/readline/readline-8.2.tar.gz" ];
  };
  # without the first it crashes when the environment names a locale that does not exist
  patches = [
    "0001-Readline-8.2-patch-1-fix-crash-when-readline-is-star.patch"
    "fix-wformat-security.diff"
  ];
  inputs = [ ncurses ];
  configureFlags = [
    "--disable-static"
    "--with-curses"
    "--disable-install-examples"
  ];
  makeFlags = [ "SHLIB_LIBS=-lncursesw" ];
}
