let x = [ 1 2 3 x ]; in x
