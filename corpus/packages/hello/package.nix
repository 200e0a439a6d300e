# The smallest useful program.
{ build, fetchDebSource }:
build {
  pname = "hello";
  license = "GPL-3.0-or-later";
  homepage = "https://www.gnu.org/software/hello/";
  source = fetchDebSource {
    name = "hello";
    upstream = [ "https://ftp.gnu.org/gnu/hello/hello-2.10.tar.gz" ];
  };
}
