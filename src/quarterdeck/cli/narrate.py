"""Tells a mission's story for the demo: what each step found, in the words of its own outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rich.markup import escape

from quarterdeck.cli.output import plain
from quarterdeck.cli.watch import line_of

SHOWN = frozenset({"step.failed", "step.interrupted", "mission.promoted", "mission.finished"})
BEGINNINGS = {
    "baseline": "Running the tests of the base, before anything is changed",
    "consult": "Asking the mentors",
    "implement": "Writing the change in the sandbox",
    "verify": "Proving the change in fresh checkouts",
    "promote": "Promoting",
    "diagnose": "Asking debugging mentors",
}
QUOTE_CHARS = 160


@dataclass(slots=True)
class Narrator:
    """Turns events into lines; it remembers when steps began and what they last said."""

    began: dict[str, datetime] = field(default_factory=dict)
    said: str = ""

    def __call__(self, event: Mapping[str, Any]) -> Iterator[str]:
        """The lines, with our own markup, for one event."""
        step, data = str(event["step"] or ""), event["data"]
        kind = step.split("_")[0]
        match event["type"]:
            case "step.started":
                self.began[step] = _time(event)
                if kind in BEGINNINGS:
                    yield f"  [cyan]▸[/] {BEGINNINGS[kind]}"
            case "step.progressed":
                yield from self._progressed(kind, data)
            case "step.finished":
                lines = list(finished(kind, data["outputs"]))
                if lines:
                    yield f"  [green]✓[/] {lines[0]} [dim]{self._took(step, event)}[/]"
                    yield from (f"    {line}" for line in lines[1:])
            case known if known in SHOWN:
                yield from filter(None, (line_of(event),))

    def _progressed(self, kind: str, data: Mapping[str, Any]) -> Iterator[str]:
        message = plain(data["message"])
        if kind == "implement" and message != self.said:
            self.said = message
            yield f"    [dim]{escape(message)}[/]"

    def _took(self, step: str, event: Mapping[str, Any]) -> str:
        began = self.began.get(step)
        return "" if began is None else f"{(_time(event) - began).total_seconds():.1f} s"


def _time(event: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(str(event["at"]))


def finished(kind: str, outputs: Mapping[str, Any]) -> Iterator[str]:
    """What a finished step of this kind found; nothing for steps that nobody waits for."""
    tellers = {
        "target": _target,
        "baseline": _baseline,
        "consult": _consult,
        "agree": _agree,
        "plan": _plan,
        "sandbox": _sandbox,
        "implement": _implement,
        "verify": _verify,
    }
    if kind in tellers:
        yield from tellers[kind](outputs)


def _text(value: object, chars: int = 400) -> str:
    """Foreign text for one line of ours."""
    line = " ".join(plain(value).split())
    return escape(line if len(line) <= chars else f"{line[:chars]}…")


def _target(outputs: Mapping[str, Any]) -> Iterator[str]:
    if outputs.get("new"):
        yield "[bold]Target[/] a new repository, begun empty"
        return
    summary = outputs.get("summary") or {}
    yield f"[bold]Target[/] {_text(outputs.get('repository'))}, branch {_text(outputs['branch'])}"
    yield f"{summary.get('files_total', 'unknown')} files at commit {str(outputs['base_sha'])[:10]}"


def _baseline(outputs: Mapping[str, Any]) -> Iterator[str]:
    counts = outputs.get("counts")
    if not counts:
        yield f"[bold]Tests before[/] none: {_text(outputs.get('standing') or 'no command found')}"
        return
    yield f"[bold]Tests before[/] {counts['passed']} of {counts['total']} pass"
    failing = list(outputs.get("failing") or ())
    for name in failing[:5]:
        yield f"[red]✗[/] {_text(name, 120)}"
    if len(failing) > 5:
        yield f"and {len(failing) - 5} more"
    command = (outputs.get("commands") or {}).get("test") or {}
    if command.get("provenance"):
        yield f"[dim]how it is tested was found in {_text(command['provenance'])}[/]"


def _consult(outputs: Mapping[str, Any]) -> Iterator[str]:
    answers = outputs.get("answers") or ()
    if not answers:
        yield f"[bold]Mentors[/] none: {_text(outputs['routing'].get('note'))}"
        return
    yield f"[bold]Mentors[/] {len(answers)} asked"
    for answer in answers:
        honest = " [yellow]demonstration model: its advice is worth nothing[/]"
        yield f"{_text(answer['model'], 80)}{honest if answer.get('demonstration') else ''}"
        yield f"  {_opinion(answer)}"


def _opinion(answer: Mapping[str, Any]) -> str:
    if not answer.get("opinions"):
        return f"no usable answer: {_text(answer.get('error') or 'unknown why', QUOTE_CHARS)}"
    first = answer["opinions"][0]["approaches"][0]
    return f"{_text(first['kind'])}: “{_text(first['text'], QUOTE_CHARS)}”"


def _agree(outputs: Mapping[str, Any]) -> Iterator[str]:
    yield f"[bold]Consensus[/] {_text(outputs['tally'])}"


def _plan(outputs: Mapping[str, Any]) -> Iterator[str]:
    phases = " → ".join(_text(phase["name"]) for phase in outputs["document"]["phases"])
    yield f"[bold]Plan[/] {phases}"
    if outputs.get("degraded"):
        yield f"[yellow]a template:[/] {_text(outputs.get('degraded_reason'))}"


def _sandbox(outputs: Mapping[str, Any]) -> Iterator[str]:
    yield f"[bold]Sandbox[/] {_text(outputs.get('path'))}"
    yield "[dim]work goes on there, confined; your checkout is not touched[/]"


def _implement(outputs: Mapping[str, Any]) -> Iterator[str]:
    yield f"[bold]Change[/] by {_text(outputs.get('implementer'))}: {_text(outputs.get('summary'))}"
    evidence = outputs.get("evidence") or {}
    variations = evidence.get("line_variations")
    if variations:
        tried = sum(variations.values())
        yield (
            f"{evidence.get('tests_flipped')} red tests turned green; the tests reject "
            f"{variations['fail']} of {tried} other versions of that line"
        )
    for doubt in evidence.get("doubts") or ():
        yield f"[yellow]doubt:[/] {_text(doubt)}"


def _verify(outputs: Mapping[str, Any]) -> Iterator[str]:
    yield f"[bold]Proof[/] {_text(outputs.get('summary'))}"
    for reason in outputs.get("reasons") or ():
        yield f"[red]✗[/] {_text(reason.get('message'))}"
    for warning in outputs.get("warnings") or ():
        yield f"[yellow]![/] {_text(warning.get('message'))}"
