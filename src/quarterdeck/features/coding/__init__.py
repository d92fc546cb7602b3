"""Isolate a repository, change it, prove the change, promote it and roll it back."""
