[
  # Only sets written in braces merge; each duplicate is reported with the place of the first.
  { a = { b = { c = 1; }; }; a = { b = { c = 2; }; }; }
  { a = { b = { c = 1; }; }; a = { b = 2; }; }
  { a = { b = 1; }; a = { b = { c = 2; }; }; }
  { a.b.c = 1; a = { b = { c.d = 2; }; }; }
  { a = { b = { inherit c; }; }; a = { b = { c = { }; }; }; }
  { a = { b = { c = { }; }; }; a = { b = { inherit c; }; }; }
  { a = { b = { inherit (d) c; }; }; a = { b = { inherit (e) c; }; }; }
  { a = { b = let d = 1; in { c = d; }; }; a = { b = { e = 1; }; }; }
  { a = { b = x: { }; }; a = { b = { }; }; }
  { a = { b = { } // { }; }; a = { b = { }; }; }
  { a = { "b c" = { "if" = 1; }; }; a = { "b c" = { "if" = 2; }; }; }
  { a = { ${"b"} = { c = 1; }; }; a = { b = { c = 2; }; }; }
  { a = { b = { c = 1; d = 1; }; }; a = { b = { d = 2; c = 2; }; }; }
]
