builtins.fetchTree { type = "github"; owner = "a"; repo = "b"; revision = "c"; }
