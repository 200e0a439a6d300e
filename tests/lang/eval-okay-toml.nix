builtins.fromTOML ''
  title = "t"
  int = 1_000
  neg = -17
  hex = 0xff
  float = 1.5
  exp = 1e3
  bool = true
  multi = """
  a
  b"""
  raw = 'c:\x'
  list = [ 1, 2, [ "a" ] ]
  dotted.key = 1
  [table]
  x = 1
  [table.sub]
  y = { z = 2 }
  [[array]]
  n = 1
  [[array]]
  n = 2
''
