"""What is lost by decisions that cannot be taken back, named before they are confirmed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def lost_by_cancelling(view: Mapping[str, Any]) -> str:
    """What stopping a mission for good ends."""
    running = [step["id"] for step in view["steps"] if step["status"] == "running"]
    now = f"What {', '.join(running)} is doing now is lost." if running else "It runs nothing now."
    return (
        f"“{_title(view)}” is {view['percent']:.0f} % done and will never be finished. {now} "
        f"{_sandbox(view)}"
    )


def lost_by_rejecting(view: Mapping[str, Any]) -> str:
    """What a no leaves undone."""
    change = _change(view)
    if not change:
        return f"“{_title(view)}” ends here without a change. {_sandbox(view)}"
    files = [file["path"] for file in change.get("files") or () if "path" in file]
    named = ", ".join(files[:5]) + (f" and {len(files) - 5} more" if len(files) > 5 else "")
    return f"“{_title(view)}”: its change of {named or 'no file'} will not be promoted. {_sandbox(view)}"


def lost_by_rolling_back(view: Mapping[str, Any]) -> str:
    """What a roll back undoes."""
    record = view["outputs"].get("promote", {}).get("record")
    if not record:
        return f"“{_title(view)}” has promoted nothing that is known here."
    return (
        f"What “{_title(view)}” changed is taken out of {record['branch']} in "
        f"{record['delivered_to']} by a new commit that undoes {record['commit'][:10]}. "
        "Later commits and the history stay."
    )


def _title(view: Mapping[str, Any]) -> str:
    line = str(view["brief"]).strip().splitlines()[0]
    return line if len(line) <= 72 else f"{line[:72]}…"


def _sandbox(view: Mapping[str, Any]) -> str:
    path = view["outputs"].get("sandbox", {}).get("path")
    return f"Its sandbox stays: {path}." if path else "It has no sandbox yet."


def _change(view: Mapping[str, Any]) -> Mapping[str, Any]:
    made = [o for s, o in view["outputs"].items() if s.startswith("implement") and "commit" in o]
    return made[-1] if made else {}
