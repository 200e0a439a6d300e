with builtins; {
  strings = map (algo: map (hashString algo) [ "" "abc" ]) [ "md5" "sha1" "sha256" "sha512" ];
  file = hashFile "sha256" ./dir/text;
  placeholder = map placeholder [ "out" "dev" ];
  toFile = toFile "name" "contents";
}
