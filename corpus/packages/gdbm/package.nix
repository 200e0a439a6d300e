{ build, fetchDebSource }:
build {
  pname = "gdbm";
  license = "GPL-3.0-or-later";
  homepage = "https://www.gnu.org/software/gdbm/";
  source = fetchDebSource {
    name = "gdbm";
    upstream = [ "https://ftp.gnu.org/gnu/gdbm/gdbm-1.23.tar.gz" ];
  };
  configureFlags = [
    "--disable-static"
    "--disable-nls"
    "--without-readline"
    "--enable-libgdbm-compat"
  ];
}
