{
  description = "packages of my own";

  inputs.eval.url = "@eval@";

  outputs =
    { self, eval }:
    let
      system = "x86_64-linux";
    in
    {
      # ev build .#greeting && cat result
      packages.${system} = rec {
        greeting = import ./packages/greeting.nix { inherit system eval; };
        default = greeting;
      };

      # ev flake check
      checks.${system}.greeting = derivation {
        name = "greeting-check";
        inherit system;
        builder = "/bin/sh";
        args = [
          "-ec"
          "read text < ${self.packages.${system}.greeting}; test \"$text\" = 'built from nothing but the seed'; echo ok > $out"
        ];
        __rootfs = [ eval.packages.${system}.stage0 ];
      };
    };
}
