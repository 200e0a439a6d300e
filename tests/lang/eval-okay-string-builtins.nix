with builtins; {
  length = map stringLength [ "" "abc" "é" "a\nb" ];
  substring = [ (substring 0 3 "abcdef") (substring 2 100 "abc") (substring 1 (-1) "abc") (substring 5 1 "abc") (substring 0 0 "abc") ];
  concat = [ (concatStringsSep ", " [ "a" "b" "c" ]) (concatStringsSep "x" [ ]) (concatStringsSep "x" [ "y" ]) ];
  replace = [
    (replaceStrings [ "oo" "a" ] [ "a" "oo" ] "foobar")
    (replaceStrings [ "" ] [ "X" ] "abc")
    (replaceStrings [ "a" "aa" ] [ "1" "2" ] "aaa")
    (replaceStrings [ "b" "never" ] [ "B" "unused" ] "abc")
    (replaceStrings [ "" "b" ] [ "-" "B" ] "ab")
  ];
  toString = map toString [ 1 (-2) 1.5 true false null "s" [ 1 [ 2 3 ] [ ] "x" ] { __toString = self: "<${self.v}>"; v = "me"; } { outPath = "out"; } /a/b ];
  base = [ (baseNameOf "/a/b/c") (baseNameOf "a/") (baseNameOf "") (baseNameOf /a/b.c) (dirOf "/a/b") (dirOf "/a") (dirOf "a/b") (dirOf "a") (dirOf /a/b) ];
}
