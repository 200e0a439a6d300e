# The python prefix in a root that holds nothing else: no shell, no /etc of a distribution, no
# library.
{
  builders,
  prefixPath,
  prefixes,
}:
derivation {
  name = "python-alone";
  inherit (builders) system;
  builder = "${prefixPath}/bin/python3";
  args = [
    "-c"
    ''
      import os, subprocess, sys
      import ssl, sqlite3, ctypes, zlib, bz2, lzma, readline, curses, dbm.gnu, uuid, hashlib, locale, zoneinfo

      assert locale.setlocale(locale.LC_ALL, "C.UTF-8") == "C.UTF-8"
      assert zoneinfo.ZoneInfo("Europe/Berlin").key == "Europe/Berlin"
      assert ssl.create_default_context().cert_store_stats()["x509_ca"] > 50
      assert zlib.decompress(zlib.compress(b"x" * 1000)) == b"x" * 1000
      assert sqlite3.connect(":memory:").execute("select 6 * 7").fetchone() == (42,)

      child = subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True, text=True, check=True)
      assert child.stdout == "42\n", child

      subprocess.run([sys.executable, "-m", "venv", "/build/venv"], check=True)
      pip = subprocess.run(["/build/venv/bin/python", "-m", "pip", "--version"], capture_output=True, text=True, check=True)
      assert pip.stdout.startswith("pip "), pip

      mapped = {line.split()[-1] for line in open("/proc/self/maps") if "/" in line}
      foreign = {path for path in mapped if not path.startswith("${prefixPath}/")}
      assert mapped and not foreign, foreign
      with open(os.environ["out"], "w") as report:
          report.write("all well\n")
    ''
  ];
  __rootfs = [ prefixes.python ];
}
