DELETE FROM sources
