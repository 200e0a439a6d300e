[
  (rec { "${"foo"}" = "bar"; __overrides = { bar = "qux"; }; })
  (rec { a = 1; b = a; "${"c" + "d"}" = a; __overrides = { a = 2; e = 3; }; })
]
