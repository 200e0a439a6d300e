SELECT frame FROM logs WHERE derivation = ?1
