with builtins; {
  match = [
    (match "ab" "abc") (match "abc" "abc") (match "a(b)(c)" "abc") (match "[[:space:]]+([[:upper:]]+)[[:space:]]+" "  FOO   ")
    (match "(a)|(b)" "b") (match "(a|ab)(c|bcd)(d*)" "abcd") (match "((a)|(b))*" "ab") (match "(.*)\\.nix" "foo.bar.nix") (match "" "") (match ".*" "a\nb")
  ];
  split = [
    (split "(a)b" "abc") (split "([ac])" "abc") (split "(a)|(c)" "abc") (split "([[:upper:]]+)" " FOO ") (split "x" "") (split "" "ab")
    (split "(a|ab)" "xabx") (split "(x*)" "axxb") (split "[.]" "1.2.3") (split "^a|b$" "aabb")
  ];
}
