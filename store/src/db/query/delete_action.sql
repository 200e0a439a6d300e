DELETE FROM actions WHERE action = ?1
