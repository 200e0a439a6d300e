builtins.fetchTree "file:./none.tar.gz"
