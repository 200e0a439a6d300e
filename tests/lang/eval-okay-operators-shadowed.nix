# Operators are defined by names that can be rebound.
let f = __lessThan: a: b: [ (a < b) (a > b) (a >= b) ]; g = __sub: [ (5 - 3) (-3) ]; h = __mul: 2 * 3; i = __div: 6 / 3;
in [ (f (a: b: true) 1 2) (g (a: b: "sub ${toString a} ${toString b}")) (h (a: b: "mul")) (i (a: b: "div")) (let true = false; in true) (let map = x: "mine"; in map 1) (let __nixPath = [ { prefix = "q"; path = "/q"; } ]; __findFile = path: name: "found ${name}"; in <q/r>) ]
