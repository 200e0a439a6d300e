builtins.flakeRefToString { type = "github"; owner = "o"; repo = "r"; revCount = -1; }
