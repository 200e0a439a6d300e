{ outputs = { self }: { name = "other"; }; }
