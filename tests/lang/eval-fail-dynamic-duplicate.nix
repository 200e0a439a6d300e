let name = "a"; in { a = 1; ${name} = 2; }
