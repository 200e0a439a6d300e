INSERT INTO builds (derivation, action, started_at, duration_ms, cpu_ms, memory_peak_bytes, log, status)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
