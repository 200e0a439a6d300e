# The time zones, compiled from the source tables by the prefix's own zic.
{
  build,
  fetchDebSource,
  glibc,
  select,
}:
build {
  pname = "tzdata";
  license = "LicenseRef-public-domain";
  homepage = "https://www.iana.org/time-zones";
  source = fetchDebSource {
    name = "tzdata";
    strip = 0;
  };
  tools = [ (select glibc [ "bin" ]) ];
  configure = "";
  make = "";
  install = ''
    zones="$out$prefix/share/zoneinfo"
    mkdir -p "$zones"
    "$prefix/sbin/zic" -b fat -d "$zones" africa antarctica asia australasia europe northamerica southamerica etcetera factory backward
    install -m644 -t "$zones" iso3166.tab zone.tab zone1970.tab leap-seconds.list
    # what the C library reads where others read /etc/localtime: UTC, until someone points it elsewhere
    mkdir -p "$out$prefix/etc"
    ln -s ../share/zoneinfo/UTC "$out$prefix/etc/localtime"
  '';
}
