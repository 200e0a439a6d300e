# A relative path starts in the directory by whose name the file was reached; only a link that is itself imported is followed.
[
  (import ./links/kept/overlays/overlay.nix)
  (import ./links/whole/overlays/overlay.nix)
  (import ./links/file.nix)
  (builtins.pathExists ./links/kept/overlays/overlay.nix)
]
