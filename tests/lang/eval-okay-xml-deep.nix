# The indentation of each kind of line.
builtins.toXML {
  a = [ [ ] [ 1 [ "two\nlines" ] ] { } ];
  b.c.d = null;
  e = { x, y ? 1, ... }: x;
  f = a: a;
}
