"""Requests and how they are answered: run, trace, try a patch; each in a fork of its own."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from types import CodeType
from typing import TYPE_CHECKING, Any

from . import faults
from .behave import compare
from .channel import Channel, Writer, fork, fork_here
from .swap import Functions, NotSwappable, Unchanged
from .trace import Recorder, tracer

if TYPE_CHECKING:
    Message = dict[str, Any]
_IDS_PER_MESSAGE = 200
_IMPORT_EVENTS_MAX = 2_000_000


class Server:
    """What both modes share: the channel, the outcome of the running test, path names."""

    def __init__(self, channel: Channel, root: str) -> None:
        self._channel = channel
        self._root = os.path.join(os.path.realpath(root), "")
        self._places: dict[str, str | None] = {}
        self._items: list[Any] = []
        self._failed = False
        self._skipped = False
        self._error: BaseException | None = None
        self._collect_errors: dict[str, BaseException] = {}

    def before_imports(self) -> None:
        """Called when pytest is loaded and nothing of the project is."""

    def before_collection(self, session: Any) -> None:
        """Called when the configuration is complete."""

    def after_collection(self, session: Any) -> None:
        """Called in place of running the tests."""

    def on_report(self, report: Any) -> None:
        if report.outcome == "rerun":
            self._failed = False
        self._failed = self._failed or report.outcome == "failed"
        self._skipped = self._skipped or report.outcome == "skipped"

    def on_exception(self, node: Any, call: Any) -> None:
        if call.excinfo is None:
            return
        if call.when == "collect":
            self._collect_errors[node.nodeid] = call.excinfo.value
        elif self._error is None:
            self._error = call.excinfo.value

    def absolute(self, file: str) -> str:
        return os.path.join(self._root, file)

    def place(self, filename: str) -> str | None:
        """The file relative to the root; None for what lies elsewhere."""
        if filename not in self._places:
            real = os.path.realpath(filename)
            inside = real.startswith(self._root) and not filename.startswith("<")
            self._places[filename] = real[len(self._root) :] if inside else None
        return self._places[filename]

    def run(self, items: list[Any], after: Callable[[int, bool, float], bool]) -> None:
        """Run the items in order with all of pytest's hooks; `after` says whether to go on."""
        for index, item in enumerate(items):
            following = items[index + 1] if index + 1 < len(items) else None
            self._failed = self._skipped = False
            self._error = None
            start = time.perf_counter()
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if not after(index, not self._failed, time.perf_counter() - start):
                return

    @property
    def skipped(self) -> bool:
        """Whether the test that ran last was skipped (or failed as expected)."""
        return self._skipped

    def relay(self, work: Callable[[Writer], None], request: Message) -> Message:
        """Run `work` in a fork, bounded by the request's `timeout_s`, `stall_s` and `cpu_s`."""
        timeout_s = float(request["timeout_s"])
        child = fork(work, self._channel, float(request.get("cpu_s") or timeout_s))
        stall_s = float(request.get("stall_s") or timeout_s)
        return child.relay(self._channel.send_line, timeout_s, stall_s)


def judge(server: Server, writer: Writer, failing: list[Any], others: list[Any]) -> None:
    """Run the failing tests, then the others, up to the first failure; send one verdict."""
    flipped = 0
    blame = ""

    def after(index: int, passed: bool, _seconds: float) -> bool:
        nonlocal flipped, blame
        must_flip = index < len(failing)
        if passed and not (must_flip and server.skipped):
            flipped += must_flip
            if must_flip:
                writer.send({"event": "flipped", "flipped": flipped})
            return True
        blame = "fail" if must_flip else "broke"
        return False

    server.run(failing + others, after)
    writer.send({"event": "verdict", "verdict": blame or "plausible", "flipped": flipped})
    writer.finish()


def count_flipped(server: Server, writer: Writer, failing: list[Any]) -> None:
    """Run all failing tests whatever happens; send how many pass."""
    passed_count = 0

    def after(_index: int, passed: bool, _seconds: float) -> bool:
        nonlocal passed_count
        passed_count += passed and not server.skipped
        return True

    server.run(failing, after)
    writer.send({"event": "verdict", "verdict": "fail", "flipped": passed_count})


class SwapServer(Server):
    """Everything is imported and collected once; a patch is a swap of code objects in a fork."""

    def before_imports(self) -> None:
        """Note from here to the end of collection which project lines run at import."""
        self._imported = Recorder(self._is_project, _IMPORT_EVENTS_MAX, self._imported_enough)
        self._import_tracer = tracer(self._imported)
        self._import_tracer.start()

    def _imported_enough(self) -> None:
        self._import_tracer.stop()

    def after_collection(self, session: Any) -> None:
        self._import_tracer.stop()
        self._items = list(session.items)
        self._functions = Functions(self._root)
        self._functions.index()
        self._announce()
        self._channel.silence()
        gc.collect()
        gc.freeze()
        operations = {
            "run": self._run_tests,
            "trace_failing": self._trace_failing,
            "trace_passing": self._trace_passing,
            "try": self._try,
            "behave": self._behave,
        }
        while True:
            request = self._channel.receive()
            if request is None or request["op"] == "stop":
                os._exit(0)
            self._channel.send(operations[request["op"]](request))

    def _announce(self) -> None:
        ids = [item.nodeid for item in self._items]
        for start in range(0, len(ids), _IDS_PER_MESSAGE):
            self._channel.send({"event": "tests", "ids": ids[start : start + _IDS_PER_MESSAGE]})
        files = {
            self.place(str(item.path if hasattr(item, "path") else item.fspath))
            for item in self._items
        }
        for node, error in self._collect_errors.items():
            described = faults.describe(error, self.place)
            self._channel.send({"event": "uncollected", "node": node, "fault": described})
        for file, lines in self._lines(self._imported).items():
            self._channel.send({"event": "imported", "file": file, "lines": lines})
        self._channel.send({"event": "ready", "files": sorted(file for file in files if file)})

    def _pick(self, indices: list[int] | None) -> list[Any]:
        if indices is None:
            return self._items
        return [self._items[index] for index in indices]

    def _run_tests(self, request: Message) -> Message:
        """Run tests and send each outcome."""
        indices = request["tests"]
        items = self._pick(indices)

        def work(writer: Writer) -> None:
            def after(index: int, passed: bool, seconds: float) -> bool:
                writer.send(
                    {
                        "event": "outcome",
                        "test": indices[index],
                        "passed": passed,
                        "skipped": self._skipped,
                        "seconds": round(seconds, 5),
                    }
                )
                return True

            self.run(items, after)

        return self.relay(work, request)

    def _trace_failing(self, request: Message) -> Message:
        """Run one test with every project line traced; send coverage and the fault."""
        item = self._items[request["test"]]

        def work(writer: Writer) -> None:
            def report(passed: bool, hung: bool) -> None:
                fault = faults.describe(self._error, self.place) if self._error else None
                writer.send(
                    {
                        "event": "traced",
                        "passed": passed,
                        "hung": hung,
                        "fault": fault,
                        "events": recorder.events,
                        "lines": self._lines(recorder),
                        "entered": self._entered(recorder),
                    }
                )

            def on_limit() -> None:
                tracing.stop()
                report(False, True)
                writer.finish()

            def after(_index: int, passed: bool, _seconds: float) -> bool:
                tracing.stop()
                report(passed, False)
                return True

            recorder = Recorder(self._is_project, request["events_max"], on_limit)
            tracing = tracer(recorder)
            tracing.start()
            self.run([item], after)

        return self.relay(work, request)

    def _trace_passing(self, request: Message) -> Message:
        """Run tests tracing only the given functions; send the lines of each test that ran one."""
        wanted = {(file, name, line) for file, name, line in request["functions"]}
        indices = request["tests"]

        def is_wanted(code: CodeType) -> bool:
            file = self.place(code.co_filename)
            return file is not None and (file, code.co_name, code.co_firstlineno) in wanted

        def work(writer: Writer) -> None:
            def after(index: int, passed: bool, _seconds: float) -> bool:
                writer.send(
                    {
                        "event": "covered",
                        "test": indices[index],
                        "passed": passed,
                        "events": recorder.events,
                        "lines": self._lines(recorder),
                    }
                )
                recorder.reset()
                tracing.forget()
                return True

            recorder = Recorder(is_wanted, 1 << 62, lambda: None)
            tracing = tracer(recorder)
            tracing.start()
            self.run(self._pick(indices), after)

        return self.relay(work, request)

    def _is_project(self, code: CodeType) -> bool:
        return self.place(code.co_filename) is not None

    def _lines(self, recorder: Recorder) -> dict[str, list[int]]:
        return {self.place(file) or file: sorted(lines) for file, lines in recorder.lines.items()}

    def _entered(self, recorder: Recorder) -> list[list[Any]]:
        keys: set[Any] = set()
        for code in recorder.entered.values():
            keys.add((self.place(code.co_filename), code.co_name, code.co_firstlineno))
        return [list(key) for key in sorted(keys)]

    def _try(self, request: Message) -> Message:
        """Judge one patch. The end message carries the verdict where no fork was needed."""
        path = os.path.join(self._root, request["file"])
        first, last = request["segment"]
        try:
            patch = self._functions.compile(
                path, first, last, request["text"], again=bool(request.get("again"))
            )
        except NotSwappable:
            return {"event": "end", "verdict": "cold"}
        except Unchanged:
            return {"event": "end", "verdict": "same"}
        except (SyntaxError, ValueError) as error:
            return {"event": "end", "verdict": "syntax", "text": str(error)}
        failing = self._pick(request["failing"])
        others = self._pick(request["others"])
        if request.get("in_order"):
            failing = self._pick(sorted(request["failing"] + request["others"]))
            others = failing[:0]

        def work(writer: Writer) -> None:
            patch.apply()
            self._watch(path, request.get("events_max"), writer)
            if request.get("count"):
                count_flipped(self, writer, failing)
            else:
                judge(self, writer, failing, others)

        return self.relay(work, request)

    def _watch(self, path: str, events_max: int | None, writer: Writer) -> None:
        """End the run as hanging after so many line events in the patched file."""
        if not events_max:
            return

        def on_limit() -> None:
            writer.send({"event": "verdict", "verdict": "hang", "flipped": 0})
            writer.finish()

        real = os.path.realpath(path)
        recorder = Recorder(
            lambda code: os.path.realpath(code.co_filename) == real, events_max, on_limit
        )
        tracer(recorder).start()

    def _behave(self, request: Message) -> Message:
        """Compare what several patches do on recorded and varied arguments."""
        items = self._pick(request["tests"])

        def work(writer: Writer) -> None:
            compare(self, self._functions, items, request, writer)

        return self.relay(work, request)


class ImportServer(Server):
    """Nothing of the project is imported yet; a patch is a file, and each fork imports anew."""

    def __init__(self, channel: Channel, root: str) -> None:
        super().__init__(channel, root)
        self._request: Message | None = None
        self._writer: Writer | None = None

    def before_imports(self) -> None:
        gc.collect()
        gc.freeze()
        self._channel.send({"event": "ready", "files": []})
        self._channel.silence()
        while True:
            request = self._channel.receive()
            if request is None or request["op"] == "stop":
                os._exit(0)
            path = os.path.join(self._root, request["file"])
            with open(path, encoding="utf-8", newline="") as file:
                original = file.read()
            _overwrite(path, request["text"])
            timeout_s = float(request["timeout_s"])
            forked = fork_here(self._channel, float(request.get("cpu_s") or timeout_s))
            if isinstance(forked, Writer):
                # The child: go on into pytest, which now imports the patched project.
                self._request, self._writer = request, forked
                return
            end = forked.relay(self._channel.send_line, timeout_s, timeout_s)
            _overwrite(path, original)
            self._channel.send(end)

    def before_collection(self, session: Any) -> None:
        if self._request is not None:
            session.config.args[:] = self._request["files"]

    def after_collection(self, session: Any) -> None:
        assert self._request is not None
        assert self._writer is not None
        by_id = {item.nodeid: item for item in session.items}
        wanted = [by_id.get(name) for name in self._request["ids"]]
        if self._collect_errors or None in wanted:
            self._writer.send({"event": "verdict", "verdict": "fail", "flipped": 0})
            self._writer.finish()
        must_collect = set(self._request["must_collect"])
        known = {id(item) for item in wanted}
        others = [
            item
            for item in session.items
            if item.nodeid.split("::")[0] in must_collect and id(item) not in known
        ]
        judge(self, self._writer, wanted + others, [])


def _overwrite(path: str, text: str) -> None:
    beside = path + ".quarterdeck"
    with open(beside, "w", encoding="utf-8", newline="") as file:
        file.write(text)
    os.replace(beside, path)
