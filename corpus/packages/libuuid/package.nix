# libuuid alone, out of util-linux.
{ build, fetchDebSource }:
build {
  pname = "libuuid";
  license = "BSD-3-Clause";
  homepage = "https://www.kernel.org/pub/linux/utils/util-linux/";
  source = fetchDebSource {
    name = "util-linux";
    upstream = [ "https://www.kernel.org/pub/linux/utils/util-linux/v2.38/util-linux-2.38.1.tar.xz" ];
  };
  patches = [
    "upstream/0002-libuuid-Implement-continuous-clock-handling-for-time.patch"
    "upstream/0004-libuuid-check-clock-value-from-LIBUUID_CLOCK_FILE.patch"
  ];
  configureFlags = [
    "--disable-all-programs"
    "--enable-libuuid"
    "--disable-static"
    "--disable-nls"
    "--disable-asciidoc"
    "--disable-bash-completion"
    "--without-python"
    "--without-systemd"
    "--localstatedir=$prefix/var"
    "--runstatedir=$prefix/run"
  ];
}
