builtins.fromTOML ''"before\u0000after" = 1''
