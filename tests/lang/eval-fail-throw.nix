let check = x: if x then 1 else throw "the value ${toString x} is bad"; in check false
