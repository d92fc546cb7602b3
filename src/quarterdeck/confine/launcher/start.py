"""Entry point of the launcher: `python -I -S start.py CONTROL_FD`."""

import os
import sys
import types


def _as_package(name: str, folder: str) -> None:
    """Make `name` importable from `folder` without running the package's own `__init__`."""
    package = types.ModuleType(name)
    package.__path__ = [folder]
    sys.modules[name] = package


if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    _as_package("quarterdeck", os.path.dirname(os.path.dirname(here)))
    _as_package("quarterdeck.confine", os.path.dirname(here))
    _as_package("quarterdeck.confine.launcher", here)
    from quarterdeck.confine.launcher.supervise import main

    main(int(sys.argv[1]))
