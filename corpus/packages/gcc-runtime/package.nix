# The run-time libraries of the compiler, in the library path of the prefix's programs.
#
# They are the distribution's binaries: their symbol versions ask for a C library that is not newer
# than the one that belongs to the compiler, which is the version that glibc here is built from. The
# libraries of C++ programs and OpenMP are a separate domain, `cxx`: a prefix that has such programs
# names it in `keep`.
{ build, fetchDeb }:
build {
  pname = "gcc-runtime";
  version = "12.2.0";
  license = "GPL-3.0-or-later WITH GCC-exception-3.1";
  sources = {
    libgcc = fetchDeb "libgcc-s1";
    libstdcxx = fetchDeb "libstdc++6";
    libgomp = fetchDeb "libgomp1";
    libatomic = fetchDeb "libatomic1";
  };
  toolchain = [ ];
  configure = "";
  make = "";
  install = ''
    mkdir -p "$out$prefix/lib"
    for library in libgcc_s.so.1 libstdc++.so.6 libgomp.so.1 libatomic.so.1; do
      file=$(find /source -path "*/x86_64-linux-gnu/$library")
      cp "$(readlink -f "$file")" "$out$prefix/lib/$library"
    done
    # what the linker looks for, so that it never has to look beyond the prefix
    for library in libstdc++ libgomp libatomic; do
      ln -s "$(basename "$out$prefix/lib/$library".so.*)" "$out$prefix/lib/$library.so"
    done
  '';

  # the C library itself loads libgcc_s to unwind a thread; the others are for programs that ask for
  # them
  rules = [
    [ "dev" "lib/*.so" ]
    [ "cxx" "lib/libstdc++.so.6" ]
    [ "cxx" "lib/libgomp.so.1" ]
    [ "cxx" "lib/libatomic.so.1" ]
  ];
}
