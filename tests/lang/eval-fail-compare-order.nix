# `a > b` is `b < a`: the right one comes first.
(throw "left") > (throw "right")
