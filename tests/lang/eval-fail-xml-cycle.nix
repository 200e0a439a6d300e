builtins.toXML [ (rec { x.e = x; }) ]
