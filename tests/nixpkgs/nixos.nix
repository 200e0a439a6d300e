# The system derivation of a small NixOS.
{ nixpkgs }:
let
  configuration =
    { ... }:
    {
      boot.loader.grub.device = "/dev/sda";
      fileSystems."/" = {
        device = "/dev/sda1";
        fsType = "ext4";
      };
      system.stateVersion = "20.09";
    };
  system = import (nixpkgs + "/nixos") {
    inherit configuration;
    system = "x86_64-linux";
  };
in
builtins.unsafeDiscardStringContext system.config.system.build.toplevel.drvPath
