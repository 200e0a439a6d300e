imported + offset
