{
  build,
  fetchDebSource,
  stage0,
}:
build {
  pname = "sqlite";
  license = "blessing";
  homepage = "https://sqlite.org/";
  source = fetchDebSource { name = "sqlite3"; };
  patches = [
    "41-fix_a_bug_in_the_NOT_NULL-IS_NULL_optimization.patch"
    "42-CVE-2025-6965.patch"
    "0001-Fix-a-buffer-overread-in-the-sessions-extension-that.patch"
    "0002-Avoid-a-stack-overflow-that-could-be-caused-by-a-rec.patch"
    "0003-Fix-a-technically-undefined-signed-integer-overflow-.patch"
  ];
  # the tarball is the full source tree, which joins its files with tcl
  tools = [ stage0.tcl ];
  environment.CPPFLAGS = builtins.concatStringsSep " " [
    "-DSQLITE_ENABLE_COLUMN_METADATA"
    "-DSQLITE_ENABLE_DBSTAT_VTAB"
    "-DSQLITE_ENABLE_FTS3"
    "-DSQLITE_ENABLE_FTS4"
    "-DSQLITE_ENABLE_FTS5"
    "-DSQLITE_ENABLE_RTREE"
    "-DSQLITE_ENABLE_UNLOCK_NOTIFY"
  ];
  configureFlags = [
    "--disable-static"
    "--disable-tcl"
    "--disable-readline"
  ];
  make = ''
    make sqlite3.c
    parallel_make
  '';
}
