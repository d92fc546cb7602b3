"""The launcher: a small process between the server and each confined command.

It runs as its own program (`start.py`) on the standard library alone, so that it starts quickly,
and it imports nothing else of the product.
"""
