"""Git for missions: mirrors, sandboxes, snapshots, promotion and rollback, over plain paths."""
