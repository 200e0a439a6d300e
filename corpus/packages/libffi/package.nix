{ build, fetchDebSource }:
build {
  pname = "libffi";
  license = "MIT";
  homepage = "https://sourceware.org/libffi/";
  source = fetchDebSource {
    name = "libffi";
    upstream = [ "https://github.com/libffi/libffi/releases/download/v3.4.4/libffi-3.4.4.tar.gz" ];
  };
  # one library directory: without the flag it installs to lib64
  configureFlags = [
    "--disable-static"
    "--disable-docs"
    "--disable-multi-os-directory"
  ];
}
