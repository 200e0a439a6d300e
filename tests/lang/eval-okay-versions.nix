with builtins; {
  split = map splitVersion [ "1.2.3" "2.3pre1-rc" "" "1..2--3" "a1b" ];
  compare = map (pair: compareVersions (head pair) (elemAt pair 1)) [
    [ "1.0" "2.3" ] [ "2.3" "2.3" ] [ "2.3.1" "2.3" ] [ "2.3.1" "2.3a" ] [ "2.3pre1" "2.3" ] [ "2.3pre3" "2.3pre12" ] [ "2.3a" "2.3c" ] [ "2.3pre1" "2.3c" ] [ "" "" ] [ "" "1" ] [ "" "pre" ]
  ];
  names = map parseDrvName [ "nix-0.12pre12876" "a-b-c-1234pre5+git" "a-b" "a-" "-1" "x--2" "1.0" ];
}
