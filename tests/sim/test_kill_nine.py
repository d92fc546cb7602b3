"""Missions that are killed (-9) at random points always end in the same promoted tree (ORC-11, ORC-13).

`QUARTERDECK_KILLS=200` sets how many deaths are tried; `QUARTERDECK_KILL_SEED` where they begin.
"""

from __future__ import annotations

import os
import random

import pytest

from tests.sim.mortal import Mortal, Plan, repeated_steps

DEATHS = int(os.environ.get("QUARTERDECK_KILLS", "5"))
SEED = int(os.environ.get("QUARTERDECK_KILL_SEED", "1"))
DEATHS_EACH = 5
REPAIR_EVERY = 4
"""Every so many missions are done by `repair`, which is slower than a command."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.req("ORC-11", "ORC-13")]


def implementer_of(number: int) -> str:
    return "repair" if number % REPAIR_EVERY == REPAIR_EVERY - 1 else "command"


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """What a mission that nobody kills ends in: its promoted tree, its files, its steps."""
    mortal = Mortal(tmp_path_factory.mktemp("undisturbed"), "command")
    mortal.brought_to_its_end([])
    return mortal.git("rev-parse", "main^{tree}"), (mortal.repository / "calc.py").read_text()


@pytest.mark.parametrize("number", range(-(-DEATHS // DEATHS_EACH)))
async def test_a_killed_mission_ends_as_if_nothing_had_happened(number, undisturbed, tmp_path):
    chance = random.Random(SEED * 10_000 + number)
    mortal = Mortal(tmp_path, implementer_of(number))
    mortal.brought_to_its_end([Plan.drawn(chance) for _ in range(DEATHS_EACH)])
    print(f"deaths: {mortal.deaths}")

    tree, text = undisturbed
    assert mortal.git("rev-parse", "main^{tree}") == tree
    assert (mortal.repository / "calc.py").read_text() == text
    assert mortal.git("rev-list", "--merges", "--count", "main") == "1"
    assert mortal.git("rev-list", "--count", "main") == "3"
    assert mortal.git("status", "--porcelain") == ""
    mortal.git("fsck", "--strict")

    assert mortal.strays() == []
    events = await mortal.events()
    assert repeated_steps(events) == {}
    kinds = [event["type"] for event in events]
    assert kinds.count("mission.promoted") == kinds.count("mission.finished") == 1
    assert mortal.half_files() == []
    assert [path for path in (mortal.data / "sandbox").rglob("*") if not path.is_dir()] == []
