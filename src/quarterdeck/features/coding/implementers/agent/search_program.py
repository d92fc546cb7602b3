"""Searches files below the current directory; run as a confined process of its own with a time limit.

A regular expression can take for ever, and a thread that does cannot be stopped: a process can.
Standard library only. Arguments: pattern, `literal` or `regex`, directory, most lines.
"""

from __future__ import annotations

import os
import re
import sys

FILE_MAX_BYTES = 1_048_576
LINE_MAX = 300
LEFT_OUT = {".git", "__pycache__", ".pytest_cache", "node_modules", ".venv", ".tox", ".mypy_cache"}


def main(pattern: str, kind: str, below: str, lines_max: int) -> int:
    found = 0
    try:
        wanted = re.compile(pattern if kind == "regex" else re.escape(pattern))
    except re.error as error:
        sys.stdout.write(f"The regular expression does not parse: {error}.\n")
        return 2
    for base, directories, names in os.walk(below):
        directories[:] = sorted(set(directories) - LEFT_OUT)
        for name in sorted(names):
            for number, line in lines_of(os.path.join(base, name)):
                if wanted.search(line):
                    path = os.path.relpath(os.path.join(base, name))
                    sys.stdout.write(f"{path}:{number}: {line.strip()[:LINE_MAX]}\n")
                    found += 1
                    if found >= lines_max:
                        sys.stdout.write("[there are more]\n")
                        return 0
    return 0


def lines_of(path: str) -> list[tuple[int, str]]:
    """The numbered lines of a text file; none for links, big files and anything else."""
    if os.path.islink(path) or not os.path.isfile(path) or os.path.getsize(path) > FILE_MAX_BYTES:
        return []
    with open(path, "rb") as file:
        content = file.read(FILE_MAX_BYTES)
    if b"\0" in content:
        return []
    return list(enumerate(content.decode(errors="replace").split("\n"), start=1))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
