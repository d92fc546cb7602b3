"""Bug sets for the repair benchmark, made at run time from packages of the ordinary client."""
