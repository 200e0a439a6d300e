{ build, fetchDebSource }:
build {
  pname = "libffi";
  license = "MIT";
  homepage = "https://sourceware.org/libffi/";
  source = fetchDebSource { name = "libffi"; };
  # one library folder: without the flag it installs to lib64
  configureFlags = [
    "--disable-static"
    "--disable-docs"
    "--disable-multi-os-directory"
  ];
}
