{ outputs = { self }: { name = "lib"; }; }
