# Derivations of every kind that names paths: fixed, with several outputs, by contexts, by sources.
let
  sys = "x86_64-linux"; builder = "/bin/sh";
  d = args: derivation ({ system = sys; inherit builder; } // args);
in rec {
  flat = d { name = "flat"; outputHash = builtins.hashString "sha256" "x"; outputHashAlgo = "sha256"; };
  flatByHash = d { name = "flat2"; outputHash = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="; outputHashMode = "flat"; };
  recursive = d { name = "rec"; outputHash = builtins.hashString "sha1" "x"; outputHashAlgo = "sha1"; outputHashMode = "recursive"; };
  sha512 = d { name = "rec512"; outputHash = builtins.hashString "sha512" "x"; outputHashAlgo = "sha512"; outputHashMode = "recursive"; };
  md5 = d { name = "md5"; outputHash = builtins.hashString "md5" "x"; outputHashAlgo = "md5"; };
  multi = d { name = "multi"; outputs = [ "dev" "out" "lib" ]; x = builtins.placeholder "dev"; };
  uses = d { name = "uses"; args = [ "-c" "echo ${multi.dev} ${multi} ${flat}" multi.lib ]; inherit recursive; };
  deep = d { name = "deep"; x = uses.drvPath; };
  nodep = d { name = "nodep"; x = builtins.unsafeDiscardOutputDependency uses.drvPath; y = builtins.unsafeDiscardStringContext multi.outPath; };
  structured = d { name = "structured"; __structuredAttrs = true; outputs = [ "out" "bin" ]; a = { b = [ 1 true null "é" ]; }; dep = multi.lib; list = [ multi uses ]; s = ./sources; };
  tofile = d { name = "tofile"; x = builtins.toFile "t" "text ${./sources}"; };
  path = d { name = "path"; x = ./sources; y = "${./sources/a}"; z = ./sources/sub; };
  builtinPath = d { name = "bpath"; x = builtins.path { path = ./sources; name = "renamed"; }; y = builtins.path { path = ./sources/a; recursive = false; name = "one"; }; z = builtins.path { path = ./sources; filter = p: t: t != "symlink"; }; };
  filter = d { name = "filter"; src = builtins.filterSource (p: t: builtins.match ".*\\.o" p == null) ./sources; };
  nulls = d { name = "nulls"; __ignoreNulls = true; a = null; b = 1; c = [ null 1 [ ] "x" ]; };
  misc = d { name = "misc-1.0"; b = true; f = false; i = 5; fl = 1.5; l = [ 1 2.5 true ]; n = null; nested = [ [ 1 [ 2 ] ] [ ] 3 ]; p = { outPath = "/x"; }; ts = { __toString = s: "ts"; }; };
  contexts = d { name = "ctx"; x = builtins.substring 0 20 multi.outPath; y = builtins.replaceStrings [ "multi" ] [ "m" ] "${multi.dev}"; z = builtins.concatStringsSep ":" [ multi uses ]; j = builtins.toJSON { a = multi; }; };
  append = d { name = "append"; x = builtins.appendContext "s" (builtins.getContext "${multi.lib}"); y = builtins.appendContext "t" { ${builtins.unsafeDiscardStringContext uses.drvPath} = { allOutputs = true; }; }; };
  fetch = import <nix/fetchurl.nix> { url = "https://example.org/x.tar.gz"; sha256 = builtins.hashString "sha256" "y"; };
  fetchUnpack = import <nix/fetchurl.nix> { url = "https://example.org/x.nar.xz"; sha256 = builtins.hashString "sha256" "y"; unpack = true; name = "zz"; };
  xml = d { name = "xml"; x = builtins.toXML { a = multi; f = { x, y ? 1 }: x; p = 1.5; }; };
}
