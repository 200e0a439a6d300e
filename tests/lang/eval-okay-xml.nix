builtins.toXML { a = 1; b = "x<\"&>\ny"; c = [ true null 1.5 /p ]; d = x: x; e = { m, n ? 1, ... }@q: m; f.g = { }; h = { p, o }: p; }
