# Files of functions, and calls with the arguments that they name.
let
  # The members of a directory by name, `NAME.nix` and `NAME/package.nix`; a set is taken as it is.
  collect =
    argument:
    if builtins.isAttrs argument then
      argument
    else
      let
        entries = builtins.readDir argument;
        member =
          entry:
          let
            file = builtins.match "(.*)\\.nix" entry;
          in
          if entries.${entry} == "directory" && builtins.pathExists (argument + "/${entry}/package.nix") then
            [ { name = entry; value = argument + "/${entry}/package.nix"; } ]
          else if file != null && entries.${entry} != "directory" then
            [ { name = builtins.head file; value = argument + "/${entry}"; } ]
          else
            [ ];
      in
      builtins.listToAttrs (builtins.concatMap member (builtins.attrNames entries));

  isFunction = value: builtins.isFunction value || (builtins.isAttrs value && value ? __functor);

  # A call that can be made again: `.override { input = other; }` changes the arguments of the file,
  # `.overrideAttrs (old: { … })` those of `build`. Both can be chained, in any order.
  overridable =
    function: arguments:
    let
      made = function arguments;
    in
    if !builtins.isAttrs made then
      made
    else
      made
      // {
        override = new: overridable function (arguments // (if isFunction new then new arguments else new));
      }
      // (
        if made ? overrideAttrs then
          { overrideAttrs = new: overridable (again: (function again).overrideAttrs new) arguments; }
        else
          { }
      );
in
{
  inherit collect isFunction;

  # A file or function, called with what it names of a scope; anything else is a finished value.
  callWith =
    scope: member:
    let
      function = if builtins.isPath member || builtins.isString member then import member else member;
    in
    if builtins.isFunction function then
      overridable function (builtins.intersectAttrs (builtins.functionArgs function) scope)
    else
      function;

  # One set of several named ones, in which no two have a name in common.
  union =
    what: sets:
    let
      kinds = builtins.attrNames sets;
      clashes = builtins.concatMap (
        kind:
        builtins.concatMap (
          other: if other > kind then map (name: { inherit name kind other; }) (builtins.attrNames (builtins.intersectAttrs sets.${kind} sets.${other})) else [ ]
        ) kinds
      ) kinds;
      clash = builtins.head clashes;
    in
    if clashes == [ ] then
      builtins.foldl' (all: kind: all // sets.${kind}) { } kinds
    else
      throw "the ${what} `${clash.name}` would be one of `${clash.kind}` and one of `${clash.other}`; rename the file or attribute of one of them";
}
