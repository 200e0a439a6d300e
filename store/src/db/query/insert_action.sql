INSERT OR REPLACE INTO actions (action, output, node, recorded_at) VALUES (?1, ?2, ?3, ?4)
