# <nix/fetchurl.nix>: a derivation that downloads one file without any tool, as nixpkgs' bootstrap uses it.
# Names and values of the attributes are part of the derivation's path and have to stay as they are.
{
  url,
  hash ? "",
  md5 ? "",
  sha1 ? "",
  sha256 ? "",
  sha512 ? "",
  outputHash ? builtins.head (builtins.filter (text: text != "") [ hash sha512 sha1 md5 ] ++ [ sha256 ]),
  outputHashAlgo ?
    if hash != "" then ""
    else if sha512 != "" then "sha512"
    else if sha1 != "" then "sha1"
    else if md5 != "" then "md5"
    else "sha256",
  executable ? false,
  unpack ? false,
  name ? baseNameOf (toString url),
  impure ? false,
  # accepted for old callers
  system ? "",
}:
let
  common = {
    inherit name url executable unpack;
    builder = "builtin:fetchurl";
    system = "builtin";
    urls = [ url ];
    outputHashMode = if unpack || executable then "recursive" else "flat";
    preferLocalBuild = true;
    impureEnvVars = [ "http_proxy" "https_proxy" "ftp_proxy" "all_proxy" "no_proxy" ];
  };
in
derivation (common // (if impure then { __impure = true; } else { inherit outputHash outputHashAlgo; }))
