# An input that is declared otherwise than when it was locked is what it is declared to be now.
(builtins.getFlake (toString ./locked-before)).name
