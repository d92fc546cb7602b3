"""Vertical slices; none imports another."""
