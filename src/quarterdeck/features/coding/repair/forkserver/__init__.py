"""The fork server: a pytest plugin that judges candidate patches inside the target's process.

These modules are copied into private scratch space and loaded by the target's own interpreter, so
they use the standard library and pytest alone and run on Python 3.8 and later.
"""
