{ build, fetchDebSource }:
build {
  pname = "zlib";
  license = "Zlib";
  homepage = "https://zlib.net/";
  source = fetchDebSource { name = "zlib"; };
  configureFlags = [ "--enable-shared" ];
}
