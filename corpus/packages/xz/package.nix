{ build, fetchDebSource }:
build {
  pname = "xz";
  license = "0BSD";
  homepage = "https://tukaani.org/xz/";
  source = fetchDebSource {
    name = "xz-utils";
    upstream = [ "https://github.com/tukaani-project/xz/releases/download/v5.4.1/xz-5.4.1.tar.xz" ];
  };
  patches = [
    "liblzma-Add-assertions-to-lzma_bufcpy.patch"
    "liblzma-mt-dec-Fix-a-comment.patch"
    "liblzma-mt-dec-Simplify-by-removing-the-THR_STOP-state.patch"
    "liblzma-mt-dec-Don-t-free-the-input-buffer-too-early-CVE-.patch"
    "liblzma-mt-dec-Don-t-modify-thr-in_size-in-the-worker-thr.patch"
    "liblzma-Fix-a-buffer-overflow-in-lzma_index_append.patch"
    "xz-Prevent-an-integer-overflow-in-files-and-files0.patch"
  ];
  # the scripts (xzgrep, xzless, …) need a shell, and the prefix has none
  configureFlags = [
    "--disable-static"
    "--disable-doc"
    "--disable-nls"
    "--disable-scripts"
    "--disable-dependency-tracking"
  ];
}
