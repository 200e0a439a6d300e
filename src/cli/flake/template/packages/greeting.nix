# The shell and its tools come from pinned packages, and nothing from this machine.
{ system, eval }:
derivation {
  name = "greeting";
  inherit system;
  builder = "/bin/sh";
  args = [ "-c" "echo 'built from nothing but the seed' > $out" ];
  __rootfs = [ eval.packages.${system}.stage0 ];
}
