with builtins;
let all = [ 1 1.5 "s" ./p null true [ ] { } (x: x) map { __functor = self: x: x; } ];
in { 
  int = map isInt all; float = map isFloat all; string = map isString all; path = map isPath all; null' = map isNull all;
  bool = map isBool all; list = map isList all; attrs = map isAttrs all; function = map isFunction all;
  equal = [ (null == null) (null == false) (1 == "1") (/a == /a) (/a == "/a") ("a" == "a") ({ } == [ ]) ((x: x) == (x: x)) ];
  constants = [ true false null langVersion ];
}
