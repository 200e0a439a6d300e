let f = n: [ n (f n) ]; in builtins.sort builtins.lessThan [ (f 0) (f 0) ]
