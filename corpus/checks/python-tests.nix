# CPython's own tests of the modules that use one of our C libraries, run on the finished prefix.
#
# The root is the prefix with the `test` domain of python added, and the seed's shell and coreutils,
# which some tests start. The result is the report.
{
  builders,
  prefixPath,
  prefixes,
  python,
  select,
  stage0,
}:
derivation {
  name = "python-tests";
  inherit (builders) system;
  builder = "/bin/bash";
  args = [
    "-c"
    ''
      set -eux -o pipefail
      exec </dev/null
      # curses is asked for: it wants a terminal that can do something
      export TERM=linux
      # left out: what sets a second uid or gid, of which the sandbox has none, and what asks the machine's gcc and ld where
      # libraries are, of which the prefix has none
      "$prefix/bin/python3" -m test -v --timeout 300 -j "$EVAL_CORES" -u curses \
        -i test_user -i test_group -i 'ctypes.test.test_find.FindLibraryLinux.*' $modules > /build/report 2>&1 || {
        grep -E '^(FAIL|ERROR|test_.* (failed|crashed))' /build/report | head -50
        tail -n 40 /build/report
        exit 1
      }
      # how many ran, and no times: the same run is the same report
      sed -n -e 's/^Ran \([0-9]* tests\) in .*/\1/p' /build/report | sort | uniq -c > "$out"
    ''
  ];
  prefix = prefixPath;
  modules = builtins.concatStringsSep " " [
    "test_bz2"
    "test_crypt"
    "test_ctypes"
    "test_curses"
    "test_dbm_gnu"
    "test_grp"
    "test_hashlib"
    "test_locale"
    "test_lzma"
    "test_pwd"
    "test_pyexpat"
    "test_readline"
    "test_sqlite3"
    "test_ssl"
    "test_subprocess"
    "test_uuid"
    "test_venv"
    "test_zlib"
    "test_zoneinfo"
  ];
  __rootfs = [
    stage0.tools
    prefixes.python
    (select python [ "test" ])
  ];
}
