({ name, value }: name) { name = 1; value = 2; vlaue = 3; }
