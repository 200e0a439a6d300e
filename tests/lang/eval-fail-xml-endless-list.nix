let f = n: [ n (f (n + 1)) ]; in builtins.toXML (f 0)
