derivationStrict { name = "x"; builder = "b"; outputHashMode = "custom"; }
