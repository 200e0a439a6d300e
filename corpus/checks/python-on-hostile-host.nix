# The python prefix on a distribution whose settings try to give it the distribution's own
# libraries.
{
  builders,
  prefixPath,
  prefixes,
  stage0,
}:
derivation {
  name = "python-on-hostile-host";
  inherit (builders) system;
  builder = "/bin/bash";
  args = [
    "-eux"
    "-c"
    ''
      host=/lib/x86_64-linux-gnu:/usr/lib/x86_64-linux-gnu
      # the host's C library is there, and its own programs use it
      grep -q " /lib/x86_64-linux-gnu/libc" /proc/self/maps || grep -q "x86_64-linux-gnu/libc" /proc/self/maps
      LD_LIBRARY_PATH=$host "${prefixPath}/bin/python3" -c '
      import ssl, sqlite3, ctypes, zlib, bz2, lzma, readline, curses, dbm.gnu, uuid, hashlib, pwd, socket
      pwd.getpwuid(0)
      socket.gethostbyname("localhost")
      mapped = {line.split()[-1] for line in open("/proc/self/maps") if "/" in line}
      foreign = {path for path in mapped if not path.startswith("${prefixPath}/")}
      assert mapped and not foreign, foreign
      '
      # programs of the C library itself
      LD_LIBRARY_PATH=$host "${prefixPath}/bin/getent" passwd root
      LD_LIBRARY_PATH=$host "${prefixPath}/bin/locale" -a | grep -qx C.utf8
      echo "all well" > "$out"
    ''
  ];
  __rootfs = [
    stage0.tools
    prefixes.python
  ];
}
