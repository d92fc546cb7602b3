"""What helps the next implementer, or the person, when no patch was found."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from quarterdeck.core.events import Json
from quarterdeck.features.coding.repair.edit import Edit
from quarterdeck.features.coding.repair.search import Found
from quarterdeck.features.coding.repair.source import Source
from quarterdeck.features.coding.repair.spectrum import Fault, Spectrum
from quarterdeck.features.coding.repair.suspects import Suspect

_SUSPECTS_MAX = 15
_FAULTS_MAX = 8


def handover(
    spectrum: Spectrum,
    ranked: Sequence[Suspect],
    sources: Mapping[str, Source],
    partial: Found | None,
) -> dict[str, Json]:
    """Suspicious lines with their text, how the tests fail, and the best partial edit."""
    return {
        "suspects": [
            {
                "file": suspect.file,
                "line": suspect.line,
                "score": round(suspect.score, 3),
                "why": suspect.why,
                "text": sources[suspect.file].line(suspect.line).strip()[:200],
            }
            for suspect in ranked[:_SUSPECTS_MAX]
        ],
        "failing": [{"test": name, "fault": _fault(fault)} for name, fault in _faults(spectrum)][
            :_FAULTS_MAX
        ],
        "best_partial": _partial(partial, sources, len(spectrum.failing)),
    }


def _faults(spectrum: Spectrum) -> list[tuple[str, Fault | None]]:
    tests = [(spectrum.tests[i].id, spectrum.tests[i].fault) for i in spectrum.failing]
    return [*tests, *spectrum.uncollected.items()]


def _fault(fault: Fault | None) -> Json:
    if fault is None:
        return None
    frames = [f"{file}:{line} in {name}" for file, line, name in fault.frames[-6:]]
    return {"type": fault.type, "text": fault.text, "frames": frames}


def _partial(partial: Found | None, sources: Mapping[str, Source], failing: int) -> Json:
    if partial is None:
        return None
    edit = partial.candidate.edit
    diff = unified_diff(edit, sources[edit.path].text)
    return {"diff": diff, "tests_flipped": partial.verdict.flipped, "failing": failing}


def unified_diff(edit: Edit, text: str) -> str:
    """The edit as a unified diff of its file."""
    after = edit.apply(text)
    lines = difflib.unified_diff(
        text.splitlines(keepends=True),
        after.splitlines(keepends=True),
        f"a/{edit.path}",
        f"b/{edit.path}",
    )
    return "".join(lines)
