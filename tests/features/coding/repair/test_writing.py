"""Writing the patch: all of it or nothing."""

from __future__ import annotations

import stat

import pytest

from quarterdeck.core.errors import Conflict
from quarterdeck.features.coding.repair.writing import write_atomically


def test_replaces_the_text_and_keeps_the_mode(tmp_path):
    path = tmp_path / "m.py"
    path.write_text("a = 1\n")
    path.chmod(0o755)

    write_atomically(path, "a = 2\n", before="a = 1\n")

    assert path.read_text() == "a = 2\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert [one.name for one in tmp_path.iterdir()] == ["m.py"]


def test_refuses_a_file_that_changed_meanwhile(tmp_path):
    path = tmp_path / "m.py"
    path.write_text("a = 3\n")

    with pytest.raises(Conflict):
        write_atomically(path, "a = 2\n", before="a = 1\n")

    assert path.read_text() == "a = 3\n"
