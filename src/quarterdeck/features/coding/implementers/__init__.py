"""Who writes the change: one port, several implementers."""
