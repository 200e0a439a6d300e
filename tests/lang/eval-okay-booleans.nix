# The right side is forced only when it matters.
let boom = throw "forced";
in {
  and = [ (true && true) (true && false) (false && boom) ];
  or = [ (false || true) (true || boom) (false || false) ];
  implies = [ (false -> boom) (true -> true) (true -> false) (false -> false -> boom) ];
  not = [ (!true) (!!true) (!false && true) ];
  mixed = [ (true || false && false) (!(1 == 2) -> "a" != "b") ];
  if' = [ (if true then 1 else boom) (if false then boom else if true then 2 else boom) ];
}
