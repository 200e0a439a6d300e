SELECT output, node FROM actions WHERE action = ?1
