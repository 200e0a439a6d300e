SELECT derivation, action, started_at, duration_ms, cpu_ms, memory_peak_bytes, log, status
FROM builds WHERE derivation = ?1 ORDER BY id DESC
