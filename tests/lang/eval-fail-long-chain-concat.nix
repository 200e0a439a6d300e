let x = [ 1 ]; in
x ++ x ++ x ++ x ++ x ++ x ++ x ++ x ++ x ++ x ++ x ++ x ++ x ++ x ++ x ++ x ++ x ++ x ++ x ++ x ++ x ++ x ++ x ++ x ++ x ++ x ++ x ++ x ++ x ++ x ++ x ++ x ++ 1
