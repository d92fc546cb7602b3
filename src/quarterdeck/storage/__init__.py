"""Where facts, numbers and bytes live: the log, the database, artifacts, the bus."""
