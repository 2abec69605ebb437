"""Take fewer passes over memory: keep values instead of loading them again, walk a row once instead of twice."""
