# The compiler takes start files, headers and libraries from the prefix and from gcc's own
# directory, and from nowhere else.
#
# The test reads the linker's trace and the compiler's list of headers, so that it also finds a leak
# which would still work (two C libraries of one version). A library that only the seed has must not
# be found.
{ build, prefixPath }:
build {
  pname = "toolchain-test";
  version = "1";
  license = "MIT";
  unpack = ''
    cat > c.c <<EOF
    #include <math.h>
    #include <stdio.h>
    #include <linux/limits.h>
    int main(int argc, char **argv) { return printf("%f %d\n", sin(argc), PATH_MAX) < 0; }
    EOF
    cat > cxx.cc <<EOF
    #include <iostream>
    #include <vector>
    int main() { std::vector<int> v{1, 2}; std::cout << v.size() << std::endl; }
    EOF
  '';
  configure = "";
  make = ''
    inside="^($prefix/|/toolchain/sysroot/(usr|lib)/|/usr/lib/gcc/x86_64-linux-gnu/12/|/usr/include/c[+][+]/12/|/usr/include/x86_64-linux-gnu/c[+][+]/12/|/tmp/)"
    for source in c.c cxx.cc; do
      compiler=gcc; if [ $source = cxx.cc ]; then compiler=g++; fi
      for mode in "" "-shared -fPIC" "-static"; do
        $compiler $mode -H $source -o program -lm -Wl,-t > trace 2> headers
        # every path of the trace, in its plain form
        sed -n 's/^(\([^)]*\)).*/\1/; /^\//p' trace | sort -u | while read -r file; do realpath -ms "$file"; done > inputs
        sed -n 's/^[.]* \(\/.*\)/\1/p' headers | sort -u | while read -r file; do realpath -ms "$file"; done >> inputs
        test -s inputs
        if grep -vE "$inside" inputs; then echo "$source $mode: taken from outside the prefix"; exit 1; fi
      done
      $compiler $source -o program -lm
      ./program
      readelf -l program | grep -F "$prefix/lib/ld-linux-x86-64.so.2"
      readelf -d program | grep -F "(RPATH)"
      if readelf -d program | grep -F "(RUNPATH)"; then exit 1; fi
    done
    # the seed has these to run its own programs; they are not for linking
    for library in gmp z bz2 selinux; do
      if gcc c.c -o program -lm -l$library; then echo "-l$library was found outside the prefix"; exit 1; fi
    done
    # nor does a distribution's C library lie about
    for name in crt1.o libc.so libc_nonshared.a; do
      if find / -xdev -name "$name" -not -path "$prefix/*" 2>/dev/null | grep .; then exit 1; fi
    done
  '';
  install = ''
    mkdir -p "$out${prefixPath}"
    echo ok > "$out${prefixPath}/result"
  '';
}
