let f = n: [ n (f (n + 1)) ]; in toString (f 0)
