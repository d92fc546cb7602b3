"""The tools of the built-in agent: bounded, inside the sandbox, answering in words."""

from __future__ import annotations

import asyncio
import fnmatch
import itertools
import json
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path

from quarterdeck.confine import Limits, run_command
from quarterdeck.core.errors import InvalidInput, NotFound, QuarterdeckError, StepFailed
from quarterdeck.features.coding.implementers.agent.rounds import Circles
from quarterdeck.features.coding.implementers.agent.testing import Bench
from quarterdeck.features.coding.implementers.confined import Grants, confinement_of, fill_in
from quarterdeck.features.coding.implementers.play import Emit
from quarterdeck.features.coding.implementers.port import Finished, Implementer, Task
from quarterdeck.features.coding.implementers.progress import Progress
from quarterdeck.features.coding.implementers.tree import SandboxTree

LISTED_MAX = 400
LINES_MAX = 400
READ_MAX_CHARS = 32_000
SEARCH_LINES_MAX = 80
SEARCH_TIMEOUT_S = 5.0
SEARCH_LIMITS = Limits(memory_bytes=512 * 1024 * 1024, processes=4, threads=8)
OUTPUT_MAX_CHARS = 8_000
COMMAND_TIMEOUT_S = 600.0
_SEARCH = Path(__file__).with_name("search_program.py")


class Stopped(StepFailed):
    """The agent goes round in circles; the message says how."""


class Workbench:
    """What the model may do, as coroutines that take text and answer text.

    An error the model can do something about is answered as text that begins with `Error:`. Going
    round in circles raises `Stopped`.
    """

    def __init__(
        self,
        task: Task,
        tree: SandboxTree,
        bench: Bench,
        progress: Progress,
        *,
        commands: Mapping[str, tuple[str, ...]],
        grants: Grants,
        repair: Implementer | None,
        emit: Emit,
    ) -> None:
        self._task = task
        self._tree = tree
        self._bench = bench
        self._progress = progress
        self._commands = commands
        self._grants = grants
        self._repair = repair
        self._emit = emit
        self._circles = Circles()

    def tools(self) -> list[Callable[..., Awaitable[str]]]:
        """The tools on offer; their names, parameters and docstrings are what the model reads."""
        offered: list[Callable[..., Awaitable[str]]] = [self.list_files, self.read_file]
        offered += [self.search, self.write_file]
        offered += [self.replace_text, self.delete_file]
        if self._task.commands.test is not None:
            offered.append(self.run_tests)
        if self._commands:
            offered.append(self.run_command)
        if self._repair is not None:
            offered.append(self.repair)
        return offered

    async def list_files(self, directory: str = ".", pattern: str = "*") -> str:
        """List the files below a directory whose path matches a shell pattern such as *.py."""

        def found() -> str:
            files = (f for f in self._tree.files(directory) if fnmatch.fnmatch(f, pattern))
            shown = list(itertools.islice(files, LISTED_MAX + 1))
            more = ["[there are more: name a directory]"] if len(shown) > LISTED_MAX else []
            return "\n".join([*shown[:LISTED_MAX], *more]) or "No file matches."

        return await self._answer(f"list_files {directory} {pattern}", found)

    async def read_file(self, path: str, start_line: int = 1, end_line: int = LINES_MAX) -> str:
        """Read lines of a text file, numbered from 1; at most 400 lines at once."""

        def found() -> str:
            lines = self._tree.read_text(path).splitlines()
            start = max(start_line, 1)
            end = min(end_line, start + LINES_MAX - 1, len(lines))
            shown = "\n".join(f"{n}\t{lines[n - 1]}" for n in range(start, end + 1))
            rest = f"\n[the file has {len(lines)} lines]" if end < len(lines) else ""
            return shown[:READ_MAX_CHARS] + rest

        return await self._answer(f"read_file {path} {start_line}-{end_line}", found)

    async def search(self, pattern: str, directory: str = ".", regex: bool = False) -> str:
        """Find lines that hold a text, or match a Python regular expression; path:line: text."""
        call = f"search {pattern} in {directory}"
        try:
            where = self._tree.relative(directory).as_posix()
            if len(pattern) > 500 or "\x00" in pattern or not pattern:
                raise InvalidInput("The pattern is empty, too long or holds a NUL.")
            answer = await self._searched(pattern, where, regex=regex)
        except QuarterdeckError as error:
            answer = f"Error: {error}"
        return self._note(call, answer)

    async def _searched(self, pattern: str, where: str, *, regex: bool) -> str:
        kind = "regex" if regex else "literal"
        program = _SEARCH.read_text()
        options = [pattern, kind, f"./{where}", str(SEARCH_LINES_MAX)]
        result = await run_command(
            [sys.executable, "-I", "-S", "-c", program, *options],
            cwd=self._tree.root,
            confinement=confinement_of(self._task, self._grants, limits=SEARCH_LIMITS),
            timeout_s=SEARCH_TIMEOUT_S,
        )
        text = result.stdout.decode(errors="replace")
        if result.timed_out:
            text += f"[stopped after {SEARCH_TIMEOUT_S:g} s: use a simpler pattern]"
        return text[:READ_MAX_CHARS] or "Nothing was found."

    async def write_file(self, path: str, content: str) -> str:
        """Write a whole text file, new or existing."""

        def write() -> str:
            self._tree.write(path, content.encode())
            return f"Wrote {len(content.splitlines())} lines to {path}."

        call = f"write_file {path} {content}"
        return await self._answer(call, write, said=f"Writes {path}")

    async def replace_text(self, path: str, old: str, new: str) -> str:
        """Replace a piece of a file that occurs exactly once; give enough lines around it."""

        def replace() -> str:
            text = self._tree.read_text(path)
            count = text.count(old) if old else 0
            if count != 1:
                raise InvalidInput(
                    f"The text to replace occurs {count} times in {path!r}.",
                    hint="Give a piece that occurs exactly once, as it is in the file.",
                )
            self._tree.write(path, text.replace(old, new, 1).encode())
            return f"Replaced the text in {path}."

        return await self._answer(
            f"replace_text {path} {old[:80]!r}", replace, said=f"Edits {path}"
        )

    async def delete_file(self, path: str) -> str:
        """Delete a file."""

        def delete() -> str:
            self._tree.delete(path)
            return f"Deleted {path}."

        return await self._answer(f"delete_file {path}", delete, said=f"Deletes {path}")

    async def run_tests(self) -> str:
        """Run the project's tests; tells which fail and how."""
        self._progress.say("Runs the tests")
        try:
            outcome = await self._bench.test()
        except QuarterdeckError as error:
            return f"Error: {error}"
        self._progress.say(outcome.headline, tests=outcome.counts())
        if (circle := self._circles.tested(outcome.round)) is not None:
            raise Stopped(circle)
        return outcome.for_model(OUTPUT_MAX_CHARS)

    async def run_command(self, name: str) -> str:
        """Run one of the named commands; they take no arguments."""
        argv = self._commands.get(name)
        if argv is None:
            known = ", ".join(sorted(self._commands)) or "none"
            return self._note(f"run_command {name}", f"Error: the commands are: {known}.")
        self._progress.say(f"Runs {name}")
        result = await run_command(
            fill_in(argv, self._task),
            cwd=self._tree.root,
            confinement=confinement_of(self._task, self._grants),
            timeout_s=min(COMMAND_TIMEOUT_S, self._task.budget_s),
        )
        text = result.output.decode(errors="replace")[-OUTPUT_MAX_CHARS:]
        ended = "timed out" if result.timed_out else f"exit code {result.exit_code}"
        return self._note(f"run_command {name}", f"{ended}\n{text}")

    async def repair(self) -> str:
        """Let the search for a one-line correction try: it needs failing tests and no thought."""
        assert self._repair is not None, "the tool is offered only where there is one"
        self._progress.say("Lets repair try")
        events = self._repair.run(replace(self._task, options={}))
        try:
            async for event in events:
                if isinstance(event, Finished):
                    found = json.dumps(event.handover, default=str)[:2_000]
                    return f"{event.status}: {event.summary}\n{found}"
                self._emit(event)
        except QuarterdeckError as error:
            return f"Error: {error}"
        finally:
            if isinstance(events, AsyncGenerator):
                await events.aclose()
        raise NotFound("The repair ended without saying how.")

    async def _answer(self, call: str, do: Callable[[], str], *, said: str | None = None) -> str:
        try:
            answer = await asyncio.to_thread(do)
            if said is not None:
                self._progress.say(said)
        except QuarterdeckError as error:
            answer = f"Error: {error}"
        return self._note(call, answer)

    def _note(self, call: str, answer: str) -> str:
        if (circle := self._circles.called(call, answer)) is not None:
            raise Stopped(circle)
        return answer
