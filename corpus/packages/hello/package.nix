# The smallest useful program.
{ build, fetchDebSource }:
build {
  pname = "hello";
  license = "GPL-3.0-or-later";
  homepage = "https://www.gnu.org/software/hello/";
  source = fetchDebSource { name = "hello"; };
}
