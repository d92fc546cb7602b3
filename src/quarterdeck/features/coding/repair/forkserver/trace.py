"""Which lines ran, and how many line events it took; cheap outside the files of interest."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Wanted = Callable[[CodeType], bool]
_TOOL = 3


class Recorder:
    """Collects lines per file and the functions entered; calls `on_limit` past `events_max`."""

    def __init__(self, wanted: Wanted, events_max: int, on_limit: Callable[[], None]) -> None:
        self._wanted = wanted
        self._events_max = events_max
        self._on_limit = on_limit
        self.lines: dict[str, set[int]] = {}
        self.entered: dict[int, CodeType] = {}
        self.events = 0

    def reset(self) -> None:
        self.lines = {}
        self.entered = {}
        self.events = 0

    def wants(self, code: CodeType) -> bool:
        if not self._wanted(code):
            return False
        self.entered[id(code)] = code
        return True

    def hit(self, code: CodeType, line: int) -> None:
        self.lines.setdefault(code.co_filename, set()).add(line)
        self.events += 1
        if self.events > self._events_max:
            self._events_max = sys.maxsize
            self._on_limit()


class SettraceTracer:
    """Line events through `sys.settrace` (Python 3.11 and before)."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._known: dict[int, tuple[CodeType, bool]] = {}

    def start(self) -> None:
        threading.settrace(self._enter)
        sys.settrace(self._enter)

    def stop(self) -> None:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]  # None is how it is taken off

    def forget(self) -> None:
        """Let every function be announced again, as for the next test."""
        self._known = {}

    def _enter(self, frame: FrameType, _event: str, _arg: Any) -> Callable[..., Any] | None:
        code = frame.f_code
        known = self._known.get(id(code))
        if known is None:
            known = self._known[id(code)] = (code, self._recorder.wants(code))
        return self._line if known[1] else None

    def _line(self, frame: FrameType, event: str, _arg: Any) -> Callable[..., Any] | None:
        if event == "line":
            self._recorder.hit(frame.f_code, frame.f_lineno)
        return self._line


class MonitoringTracer:
    """Line events through `sys.monitoring` (Python 3.12 and later)."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._seen: dict[int, CodeType] = {}
        self._monitoring: Any = getattr(sys, "monitoring")  # noqa: B009 - unknown before 3.12

    def start(self) -> None:
        monitoring = self._monitoring
        if monitoring.get_tool(_TOOL) is None:
            monitoring.use_tool_id(_TOOL, "quarterdeck-repair")
        monitoring.register_callback(_TOOL, monitoring.events.PY_START, self._enter)
        monitoring.register_callback(_TOOL, monitoring.events.LINE, self._line)
        monitoring.set_events(_TOOL, monitoring.events.PY_START)
        monitoring.restart_events()

    def stop(self) -> None:
        self._monitoring.set_events(_TOOL, 0)
        for code in self._seen.values():
            self._monitoring.set_local_events(_TOOL, code, 0)
        self._seen = {}

    def forget(self) -> None:
        """Let every function be announced again, as for the next test."""
        self.stop()
        self.start()

    def _enter(self, code: CodeType, _offset: int) -> Any:
        if self._recorder.wants(code) and id(code) not in self._seen:
            self._seen[id(code)] = code
            self._monitoring.set_local_events(_TOOL, code, self._monitoring.events.LINE)
        return self._monitoring.DISABLE

    def _line(self, code: CodeType, line: int) -> None:
        self._recorder.hit(code, line)


def tracer(recorder: Recorder) -> Any:
    """The best tracer of this interpreter: `start`, `stop`, `forget`."""
    if sys.version_info >= (3, 12):
        return MonitoringTracer(recorder)
    return SettraceTracer(recorder)
