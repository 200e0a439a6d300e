# A name that the search path does not have is an error that can be caught.
let
  caught = value: !(builtins.tryEval value).success;
in
{
  missing = caught <no-such-thing>;
  below = caught <no-such-thing/x.nix>;
  imported = caught (import <no-such-thing>);
  withoutEntries = caught (builtins.findFile [ ] "x");
  entryMissing = caught (
    builtins.findFile [
      {
        prefix = "x";
        path = "/no-such-directory";
      }
    ] "x"
  );
  notFetched = caught (
    builtins.findFile [
      {
        prefix = "x";
        path = "file:///no-such-archive.tar.gz";
      }
    ] "x"
  );
  nextEntry =
    builtins.baseNameOf
      (builtins.findFile [
        {
          prefix = "x";
          path = "/no-such-directory";
        }
        {
          prefix = "x";
          path = toString ./dir;
        }
      ] "x");
}
