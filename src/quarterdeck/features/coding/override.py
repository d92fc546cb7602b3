"""`quarterdeck.yaml`: how a repository says itself how it is set up, built and tested (ORC-6)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from collections.abc import Mapping as MappingType

from quarterdeck.core.errors import InvalidInput
from quarterdeck.features.coding import yaml_nodes
from quarterdeck.features.coding.commands import Command, Commands, ReportFormat, Source
from quarterdeck.features.coding.yaml_nodes import Mapping, Node, Scalar, Sequence

NAME = "quarterdeck.yaml"
SIZE_MAX = 64 * 1024
ARGV_MAX = 200
TIMEOUT_MAX_S = 86_400
_KEYS = (
    "ecosystem",
    "setup",
    "build",
    "test",
    "report",
    "env",
    "timeout_s",
    "protected",
    "directory",
)
_REPORT_KEYS = ("format", "path")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_SHELL = re.compile(r"[|&;<>`\n]|\$[({]")
_DEFAULT_TIMEOUT_S = 600.0


def parse(content: bytes | None, *, where: str = NAME) -> Commands:
    """The commands in the bytes of an override file; None stands for a file that cannot be read.

    Raises:
        InvalidInput: an unknown key, a wrong type, a test without a report; names key and line.
        TooLarge: over the limits of size, depth or count.
    """
    if content is None:
        raise InvalidInput(
            "It is a link, or far too large.", where=where, hint="Make it a regular, short file."
        )
    root = yaml_nodes.parse(content, where=where, size_max=SIZE_MAX)
    if root is None:
        raise InvalidInput("It is empty.", where=where, hint=f"State {_listed(_KEYS)}.")
    return _Reading(where).commands(root)


class _Reading:
    """One reading of one file, so that every error can name it."""

    def __init__(self, where: str) -> None:
        self._where = where

    def commands(self, root: Node) -> Commands:
        top = self._mapping(root, "the file", _KEYS)
        if not any(key in top for key in ("setup", "build", "test")):
            raise self._error("It states no command.", root, "State at least `test`.")
        env = self._env(top.get("env"))
        timeout_s = self._timeout(top.get("timeout_s"))
        directory = self._directory(top.get("directory"))
        format, path = self._report(top.get("report"))

        def command(key: str) -> Command | None:
            node = top.get(key)
            if node is None:
                return None
            provenance = f"{self._where}:{node.line}"
            argv = self._argv(node, key)
            return Command(argv, provenance, env=env, timeout_s=timeout_s, directory=directory)

        test = command("test")
        if test is not None:
            test = self._reporting(test, top["test"], format, path)
        name = top.get("ecosystem")
        return Commands(
            ecosystem=self._text(name, "ecosystem") if name else "stated",
            setup=command("setup"),
            build=command("build"),
            test=test,
            protected=self._globs(top.get("protected")),
            source=Source.OVERRIDE,
        )

    def _reporting(
        self, test: Command, node: Node, format: ReportFormat | None, path: str | None
    ) -> Command:
        """The test with its report; an exit code alone proves nothing."""
        placed = any("{report}" in word for word in (*test.argv, *test.env.values()))
        printed = format in (ReportFormat.GO_JSON, ReportFormat.TAP, ReportFormat.CARGO)
        if format is None and placed:
            format = ReportFormat.JUNIT
        if format is None or not (placed or path or printed):
            raise self._error(
                "'test' writes no report.",
                node,
                "Put {report} where the command takes the report's path, or state "
                "'report: {format: junit, path: GLOB}'.",
            )
        return Command(
            test.argv,
            test.provenance,
            report=format,
            report_glob=path,
            env=test.env,
            timeout_s=test.timeout_s,
            directory=test.directory,
        )

    def _argv(self, node: Node, key: str) -> tuple[str, ...]:
        if isinstance(node, Sequence):
            words = tuple(self._text(item, key) for item in node.items)
        else:
            text = self._text(node, key)
            if _SHELL.search(text):
                raise self._error(
                    f"{key!r} uses shell syntax, and no shell reads it.",
                    node,
                    'State it as a list, for example ["sh", "-c", "…"].',
                )
            try:
                words = tuple(shlex.split(text))
            except ValueError as error:
                raise self._error(f"{key!r} does not split into words: {error}.", node) from None
        if not words or not words[0] or len(words) > ARGV_MAX:
            raise self._error(f"{key!r} needs 1 to {ARGV_MAX} words.", node)
        return words

    def _report(self, node: Node | None) -> tuple[ReportFormat | None, str | None]:
        if node is None:
            return None, None
        if isinstance(node, Scalar):
            return self._format(node), None
        top = self._mapping(node, "report", _REPORT_KEYS)
        format = self._format(top["format"]) if "format" in top else ReportFormat.JUNIT
        return format, self._path(top["path"], "report.path") if "path" in top else None

    def _format(self, node: Node) -> ReportFormat:
        text = self._text(node, "report")
        if text not in set(ReportFormat):
            raise self._error(
                f"{text!r} is no report format.", node, f"Use {_listed(ReportFormat)}."
            )
        return ReportFormat(text)

    def _env(self, node: Node | None) -> MappingType[str, str]:
        if node is None:
            return {}
        pairs = self._pairs(node, "env")
        for key, _ in pairs:
            if not _ENV_NAME.fullmatch(key.text):
                raise self._error(f"{key.text!r} is no name of a variable.", key)
        return {key.text: self._text(value, f"env.{key.text}") for key, value in pairs}

    def _timeout(self, node: Node | None) -> float:
        if node is None:
            return _DEFAULT_TIMEOUT_S
        text = node.text if isinstance(node, Scalar) else ""
        if not re.fullmatch(r"[1-9]\d{0,5}(\.\d+)?", text) or float(text) > TIMEOUT_MAX_S:
            raise self._error(
                "'timeout_s' is no number of seconds.", node, f"Use 1 to {TIMEOUT_MAX_S}."
            )
        return float(text)

    def _globs(self, node: Node | None) -> tuple[str, ...]:
        if node is None:
            return ()
        if not isinstance(node, Sequence):
            raise self._error("'protected' must be a list of globs.", node)
        return tuple(self._path(item, "protected") for item in node.items)

    def _directory(self, node: Node | None) -> str:
        return "." if node is None else self._path(node, "directory").strip("/") or "."

    def _path(self, node: Node, key: str) -> str:
        text = self._text(node, key)
        if text.startswith("/") or ".." in text.split("/") or "\0" in text or not text:
            raise self._error(f"{key!r} leaves the repository: {text!r}.", node)
        return text

    def _text(self, node: Node, key: str) -> str:
        if not isinstance(node, Scalar):
            raise self._error(f"{key!r} must be a text.", node)
        if node.tag != "str":
            raise self._error(
                f"{key!r} holds {node.text!r}, which YAML reads as {node.tag}, not as text.",
                node,
                f'Write it in quotes: "{node.text}".',
            )
        return node.text

    def _mapping(self, node: Node, name: str, known: tuple[str, ...]) -> dict[str, Node]:
        pairs = self._pairs(node, name)
        for key, _ in pairs:
            if key.text not in known:
                raise self._error(
                    f"{key.text!r} is not a key of {name}.", key, f"Use {_listed(known)}."
                )
        return {key.text: value for key, value in pairs}

    def _pairs(self, node: Node, name: str) -> list[tuple[Scalar, Node]]:
        if not isinstance(node, Mapping):
            raise self._error(f"{name} must hold 'key: value' lines.", node)
        seen: set[str] = set()
        for key, _ in node.pairs:
            if key.text in seen:
                raise self._error(f"{key.text!r} is stated twice.", key)
            seen.add(key.text)
        return node.pairs

    def _error(self, message: str, node: Node | None, hint: str | None = None) -> InvalidInput:
        place = f"{self._where}:{node.line}" if node else self._where
        return InvalidInput(message, where=place, hint=hint)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(str(name) for name in names)
