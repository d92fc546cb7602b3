"""What rival patches do on the same inputs: recorded arguments and small variations of them."""

from __future__ import annotations

import asyncio
import copy
import inspect
import itertools
import random
import re
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType, FunctionType
from typing import TYPE_CHECKING, Any

from .channel import Writer, fork_piped
from .swap import Functions, NotSwappable, Patch

if TYPE_CHECKING:
    Arguments = tuple[Any, ...]

_TEXT_MAX = 160
_YIELDED_MAX = 200
_VARIANTS_PER_CALL = 6
_CALL_S = 0.3
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{6,}")


class Slow(BaseException):
    """A call took too long; not an Exception, so that the target does not swallow it."""


def compare(
    server: Any, functions: Functions, items: list[Any], request: dict[str, Any], writer: Writer
) -> None:
    """Send the inputs (`inputs`), then one `outputs` message for the original and each patch.

    Runs inside a fork: the tests run here once to record arguments, then each version answers in
    a fork of its own.
    """
    targets = [
        function
        for file, name, line in request["functions"]
        for function in functions.find(server.absolute(file), name, line)[:1]
    ]
    calls = _record(server, items, targets, request["samples"])
    inputs = list(_with_variants(calls, random.Random(request["seed"])))  # noqa: S311 - not a secret
    twice = [
        fork_piped(lambda out: _answer(out, None, inputs), request["version_s"]) for _ in range(2)
    ]
    # What depends on the clock or on chance says nothing about a patch.
    steady = [one == other for one, other in zip(*twice)]
    inputs = [one for one, kept in zip(inputs, steady) if kept]
    answers = [one for one, kept in zip(twice[0], steady) if kept]
    shown = [(function.__qualname__, _show(args)) for function, args in inputs]
    recorded = sum(steady[: len(calls)])
    writer.send({"event": "inputs", "inputs": shown, "recorded": recorded})
    writer.send({"event": "outputs", "outputs": answers})
    for wanted in request["patches"]:
        patch = _compiled(server, functions, wanted)
        if patch is None:
            writer.send({"event": "outputs", "outputs": None})
            continue
        answers = fork_piped(lambda out, p=patch: _answer(out, p, inputs), request["version_s"])
        writer.send({"event": "outputs", "outputs": answers})


def _compiled(server: Any, functions: Functions, wanted: dict[str, Any]) -> Patch | None:
    """The patch; None when it acts at import, where watching calls does not show it."""
    first, last = wanted["segment"]
    try:
        path = server.absolute(wanted["file"])
        return functions.compile(path, first, last, wanted["text"], again=True)
    except (NotSwappable, SyntaxError, ValueError):
        return None


def _record(
    server: Any, items: list[Any], targets: list[FunctionType], samples: int
) -> list[tuple[FunctionType, Arguments]]:
    """Run the tests and copy the arguments of the first `samples` different calls per target."""
    codes = {id(function.__code__): function for function in targets}
    calls: list[tuple[FunctionType, Arguments]] = []
    seen: dict[int, set[str]] = {id(function.__code__): set() for function in targets}

    def enter(frame: FrameType, _event: str, _arg: Any) -> None:
        function = codes.get(id(frame.f_code))
        if function is None or len(seen[id(frame.f_code)]) >= samples:
            return
        args = _arguments(frame)
        if args is None:
            return
        shown = _show(args)
        if shown not in seen[id(frame.f_code)]:
            seen[id(frame.f_code)].add(shown)
            calls.append((function, args))

    sys.settrace(enter)
    try:
        server.run(items, _go_on)
    finally:
        sys.settrace(None)
    return calls


def _go_on(_index: int, _passed: bool, _seconds: float) -> bool:
    return True


def _arguments(frame: FrameType) -> Arguments | None:
    """A copy of the arguments (positional ones, then a dict); None where they resist copying."""
    code = frame.f_code
    positional = code.co_varnames[: code.co_argcount]
    named_end = code.co_argcount + code.co_kwonlyargcount
    named = code.co_varnames[code.co_argcount : named_end]
    tracing = sys.gettrace()
    sys.settrace(None)
    try:
        values = frame.f_locals
        args = [values[name] for name in positional]
        keywords = {name: values[name] for name in named}
        if code.co_flags & inspect.CO_VARARGS:
            args += values[code.co_varnames[named_end]]
            named_end += 1
        if code.co_flags & inspect.CO_VARKEYWORDS:
            keywords.update(values[code.co_varnames[named_end]])
        return copy.deepcopy((*args, keywords))
    except Exception:  # noqa: BLE001 - the target's own objects may refuse to be copied
        return None
    finally:
        sys.settrace(tracing)


def _with_variants(
    calls: list[tuple[FunctionType, Arguments]], rng: random.Random
) -> Iterator[tuple[FunctionType, Arguments]]:
    yield from calls
    for function, args in calls:
        for _ in range(_VARIANTS_PER_CALL if len(args) > 1 else 0):
            position = rng.randrange(len(args) - 1)
            variants = _vary(args[position])
            if variants:
                changed = list(args)
                changed[position] = rng.choice(variants)
                yield function, tuple(changed)


def _vary(value: Any) -> list[Any]:
    """Values a little different from `value`, of the same type; none for what is not plain."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1, -value, 0, 1, 2, value * 2, value * 10]
    if isinstance(value, float):
        return [value + 1, value / 2, -value, 0.0]
    if isinstance(value, str):
        return [
            value[1:],
            value[:-1],
            value + value,
            value.upper(),
            value.title(),
            "",
            " " + value,
            value[::-1],
            value + "s",
            value[:1],
        ]
    if isinstance(value, list):
        return [value[1:], value[:-1], value + value, value[::-1], [], value[:1]]
    if isinstance(value, tuple):
        return [value[1:], value[:-1], value + value, value[::-1], ()]
    if isinstance(value, dict) and value:
        first = next(iter(value))
        return [{}, {k: v for k, v in value.items() if k != first}, {first: value[first]}]
    return []


def _answer(
    writer: Writer, version: Patch | None, inputs: list[tuple[FunctionType, Arguments]]
) -> None:
    if version is not None:
        version.apply()
    signal.signal(signal.SIGALRM, _too_slow)
    for function, args in inputs:
        writer.send({"o": _outcome(function, args)})


def _too_slow(_signal: int, _frame: FrameType | None) -> None:
    raise Slow


def _outcome(function: Callable[..., Any], args: Arguments) -> str:
    """What a call gives, as text: the value (and changed arguments), or the exception's type."""
    try:
        mine = copy.deepcopy(args)
        signal.setitimer(signal.ITIMER_REAL, _CALL_S)
        result = function(*mine[:-1], **mine[-1])
        if inspect.isgenerator(result):
            result = list(itertools.islice(result, _YIELDED_MAX))
        elif inspect.iscoroutine(result):
            result = asyncio.run(result)
        text = _plain(result)
        after = _plain(mine)
        return text if after == _plain(args) else f"{text}, arguments then {after}"
    except Slow:
        return "raises: too slow"
    except BaseException as error:  # noqa: BLE001 - whatever it raises is the answer
        return f"raises {type(error).__name__}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _plain(value: Any) -> str:
    return _ADDRESS.sub("0x", repr(value))[:2000]


def _show(args: Arguments) -> str:
    try:
        named = [f"{name}={_plain(value)[:_TEXT_MAX]}" for name, value in args[-1].items()]
        return ", ".join([*(_plain(arg)[:_TEXT_MAX] for arg in args[:-1]), *named])
    except Exception:  # noqa: BLE001 - the target's own __repr__ may do anything
        return "?"
