"""YAML of strangers as a bounded tree of nodes that know their line, without making objects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from quarterdeck.core.errors import InvalidInput, TooLarge

DEPTH_MAX = 24
NODES_MAX = 20_000
_PLAIN = yaml.resolver.Resolver()
_TEXT_TAG = "tag:yaml.org,2002:str"


@dataclass(slots=True)
class Scalar:
    """A text as written; `tag` is what YAML 1.1 takes it for (`str`, `bool`, `int`, …)."""

    text: str
    tag: str
    line: int


@dataclass(slots=True)
class Sequence:
    line: int
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class Mapping:
    """Pairs in order; the first of two equal keys is kept in `get`."""

    line: int
    pairs: list[tuple[Scalar, Node]] = field(default_factory=list)

    def get(self, key: str) -> Node | None:
        return next((value for name, value in self.pairs if name.text == key), None)


Node = Scalar | Sequence | Mapping


def parse(content: bytes, *, where: str, size_max: int, aliases: bool = False) -> Node | None:
    """The root node, or None for an empty file.

    With `aliases` an alias stands for its anchor's node itself, so a reader that walks the tree
    must bound its own steps (`texts` does).

    Raises:
        TooLarge: over `size_max` bytes, `DEPTH_MAX` levels or `NODES_MAX` nodes.
        InvalidInput: when it is not one YAML document, or holds an alias that is not allowed.
    """
    if len(content) > size_max:
        raise TooLarge(f"It holds {len(content)} bytes; {size_max} is the limit.", where=where)
    builder = _Builder(where, aliases)
    try:
        for event in yaml.parse(content.decode("utf-8"), Loader=yaml.SafeLoader):
            builder.take(event)
    except UnicodeDecodeError as error:
        raise InvalidInput(f"Byte {error.start} is not UTF-8.", where=where) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{where}:{mark.line + 1}" if mark else where
        raise InvalidInput(f"It is not YAML: {error.problem}.", where=place) from None
    except yaml.YAMLError as error:
        raise InvalidInput(f"It is not YAML: {error}.", where=where) from None
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"It is not YAML: {error}.", where=where) from None
    return builder.root


def texts(node: Node | None, *, limit: int = 2000) -> Iterator[Scalar]:
    """The scalars below `node` in order, at most `limit` nodes far."""
    frontier = [node] if node else []
    for _ in range(limit):
        if not frontier:
            return
        current = frontier.pop()
        if isinstance(current, Scalar):
            yield current
        elif isinstance(current, Sequence):
            frontier.extend(reversed(current.items))
        else:
            frontier.extend(value for _, value in reversed(current.pairs))


class _Builder:
    """Builds the tree from the parser's events with a stack of its own, so depth is ours."""

    def __init__(self, where: str, aliases: bool) -> None:
        self.root: Node | None = None
        self._where = where
        self._aliases = aliases
        self._anchors: dict[str, Node] = {}
        self._open: list[Sequence | Mapping] = []
        self._keys: list[Scalar | None] = []
        self._count = 0
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 1
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise self._error("A second document begins; one is allowed.", line)
            case yaml.AliasEvent():
                self._alias(event.anchor, line)
            case yaml.ScalarEvent():
                self._add(_scalar(event, line), event.anchor, line)
            case yaml.SequenceStartEvent():
                self._push(Sequence(line), event.anchor, line)
            case yaml.MappingStartEvent():
                self._push(Mapping(line), event.anchor, line)
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self._open.pop()
                self._keys.pop()
            case _:
                return

    def _alias(self, anchor: str, line: int) -> None:
        if not self._aliases:
            raise self._error(
                f"The alias *{anchor} is not allowed.",
                line,
                "Write the value out where it is used.",
            )
        if anchor not in self._anchors:
            raise self._error(f"The alias *{anchor} has no anchor.", line)
        self._add(self._anchors[anchor], None, line)

    def _push(self, node: Sequence | Mapping, anchor: str | None, line: int) -> None:
        if len(self._open) >= DEPTH_MAX:
            raise TooLarge(
                f"It nests deeper than {DEPTH_MAX} levels.", where=f"{self._where}:{line}"
            )
        self._add(node, anchor, line)
        self._open.append(node)
        self._keys.append(None)

    def _add(self, node: Node, anchor: str | None, line: int) -> None:
        self._count += 1
        if self._count > NODES_MAX:
            raise TooLarge(f"It holds more than {NODES_MAX} values.", where=f"{self._where}:{line}")
        if anchor:
            self._anchors[anchor] = node
        if not self._open:
            self.root = node
            return
        owner = self._open[-1]
        if isinstance(owner, Sequence):
            owner.items.append(node)
            return
        key = self._keys[-1]
        if key is not None:
            owner.pairs.append((key, node))
            self._keys[-1] = None
        elif isinstance(node, Scalar):
            self._keys[-1] = node
        else:
            raise self._error("A key must be a text.", line)

    def _error(self, message: str, line: int, hint: str | None = None) -> InvalidInput:
        return InvalidInput(message, where=f"{self._where}:{line}", hint=hint)


def _scalar(event: yaml.ScalarEvent, line: int) -> Scalar:
    tag = event.tag or _PLAIN.resolve(yaml.ScalarNode, event.value, event.implicit)
    return Scalar(event.value, "str" if tag == _TEXT_TAG else tag.rsplit(":", 1)[-1], line)
