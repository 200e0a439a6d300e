let f = { __functor = self: self; }; g = { __functor = g; }; in g 1
