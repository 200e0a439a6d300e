# The builders inside `eval`, as functions: no tool runs, so they need no inputs.
#
#     builders.union { name = "etc"; trees = [ a b ]; }
#
# Every function returns a derivation whose only output is the result.
let
  system = "x86_64-linux";

  # A store name allows fewer characters than a file name in an archive's pool.
  storeName = builtins.replaceStrings [ "~" ":" "%" ] [ "-" "-" "-" ];

  # A null argument is not passed on, so that leaving it out and giving its default are one recipe.
  given = attrs: builtins.removeAttrs attrs (builtins.filter (n: attrs.${n} == null) (builtins.attrNames attrs));
  json = value: if value == null then null else builtins.toJSON value;
in
rec {
  inherit system storeName;

  # A file by hash: `{ urls = [ … ]; sha256 = "…"; name ? …; executable ? false; }`.
  fetchurl =
    {
      urls,
      sha256,
      name ? baseNameOf (builtins.head urls),
      executable ? false,
    }:
    derivation (
      given {
        name = storeName name;
        inherit system urls;
        builder = "builtin:fetchurl";
        outputHash = sha256;
        outputHashAlgo = "sha256";
        outputHashMode = "flat";
        executable = if executable then true else null;
      }
    );

  # A tree from archives unpacked over each other; `strip` leading path components are dropped.
  unpack =
    {
      name,
      srcs,
      strip ? 0,
    }:
    derivation {
      name = storeName name;
      inherit system srcs strip;
      builder = "builtin:unpack";
    };

  # One tree from many. `rules` is a list of `[ domain glob ]` pairs, `domains` those to keep.
  union =
    {
      name,
      trees,
      at ? null,
      subdir ? null,
      rules ? null,
      domains ? null,
      exclude ? null,
      overlap ? null,
    }:
    derivation (given {
      name = storeName name;
      inherit system trees at subdir;
      builder = "builtin:union";
      rules = json rules;
      domains = json domains;
      exclude = json exclude;
      __overlap = overlap;
    });

  # A tree from texts and links: `files."usr/bin/cc" = { link = "gcc"; }`.
  write =
    { name, files }:
    derivation {
      name = storeName name;
      inherit system;
      builder = "builtin:write";
      files = builtins.toJSON files;
    };

  # `tree` itself, when nothing in it leads out of the prefix at `path`; else the findings are the
  # error.
  audit =
    {
      name,
      tree,
      path,
      allow ? [ ],
    }:
    derivation {
      name = storeName name;
      inherit system tree;
      builder = "builtin:audit";
      prefix = path;
      allow = builtins.toJSON allow;
    };
}
