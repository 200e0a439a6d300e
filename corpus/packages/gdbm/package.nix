{ build, fetchDebSource }:
build {
  pname = "gdbm";
  license = "GPL-3.0-or-later";
  homepage = "https://www.gnu.org/software/gdbm/";
  source = fetchDebSource { name = "gdbm"; };
  configureFlags = [
    "--disable-static"
    "--disable-nls"
    "--without-readline"
    "--enable-libgdbm-compat"
  ];
}
