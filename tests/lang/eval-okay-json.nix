with builtins; {
  to = map toJSON [ 1 (-1) "a\"b\\c\nd\te" true null [ 1 [ ] ] { b = 1; a = { }; } { outPath = "o"; x = 1; } { __toString = self: "ts"; } "é/" ];
  from = map fromJSON [ "1" "-0.5" "\"a\\u00e9\\n\"" "[1, [], {}]" "{\"b\": 1, \"a\": {\"c\": null}}" " true " "1e3" "9223372036854775807" ];
  both = fromJSON (toJSON { a = [ 1 2 { b = "c"; } ]; }) == { a = [ 1 2 { b = "c"; } ]; };
  duplicate = fromJSON "{\"a\": 1, \"a\": 2}";
}
