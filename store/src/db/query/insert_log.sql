INSERT OR REPLACE INTO logs (derivation, written_at, frame) VALUES (?1, ?2, ?3)
