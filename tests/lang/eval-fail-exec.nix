builtins.exec [ "true" ]
