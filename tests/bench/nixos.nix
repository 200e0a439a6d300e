# The derivation path of a small NixOS system.
{ tree }:
(import "${toString tree}/nixos" {
  system = "x86_64-linux";
  configuration = {
    boot.loader.grub.enable = false;
    fileSystems."/" = { device = "none"; fsType = "tmpfs"; };
    system.stateVersion = "20.09";
    services.openssh.enable = true;
  };
}).system.drvPath
