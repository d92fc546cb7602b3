"""Runs plans: one door in, dataflow execution, nothing finished is ever repeated."""
