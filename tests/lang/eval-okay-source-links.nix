# A source that is a link is what the link leads to, with the link's name. A path in a string stays a
# link.
let
  filtered = name: source: builtins.filterSource (path: type: baseNameOf path != name) source;
  whole = ./links/whole;
  kept = ./links/kept;
  file = ./links/file.nix;
  path = source: builtins.path { path = source; name = "source"; };
in
{
  directory = path whole == path kept;
  directoryName = builtins.path { path = whole; };
  directoryFiltered = filtered "overlays" whole;
  file = path file == path ./links/overlays/overlay.nix;
  fileName = builtins.path { path = file; };
  fileFiltered = filtered "file.nix" file;
  fileFlat =
    builtins.path { path = file; recursive = false; }
    == builtins.path { path = ./links/overlays/overlay.nix; name = "file.nix"; recursive = false; };
  text = builtins.path { path = "${toString ./links}/./whole/."; name = "source"; } == path kept;
  inString = "${whole} ${file}";
  inJson = builtins.toJSON whole;
}
