# An input whose declaration has changed since it was locked is taken from the declaration.
(builtins.getFlake (toString ./locked-before)).name
