"""What a mentor may answer, bounded so that a small model's grammar always comes to an end (ORC-3).

Measured: with unbounded text a small model's structured answer never ended in 2 of 5 cases. So
every text has a length and a pattern that carries the same length, and every list a maximum.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from quarterdeck.core.errors import InvalidInput, TooLarge

ANSWER_BYTES_MAX = 65_536
APPROACHES_MAX = 3
FILES_MAX = 8
TESTS_MAX = 5

_LINE = r'[^"\\\x00-\x1f]'
"""One character of a line, without those that would end or escape a JSON string."""

Sentence = Annotated[str, StringConstraints(max_length=200, pattern=f"^{_LINE}{{1,200}}$")]
ShortText = Annotated[str, StringConstraints(max_length=120, pattern=f"^{_LINE}{{1,120}}$")]
BriefText = Annotated[str, StringConstraints(max_length=80, pattern=f"^{_LINE}{{1,80}}$")]
FilePath = Annotated[
    str, StringConstraints(max_length=120, pattern=r"^[A-Za-z0-9_.@+-][A-Za-z0-9_.@+/ -]{0,119}$")
]


class CauseKind(StrEnum):
    """Where the trouble, or the reason for the work, lies."""

    LOGIC = "logic"
    MISSING_FEATURE = "missing_feature"
    INTERFACE = "interface"
    DATA = "data"
    CONCURRENCY = "concurrency"
    CONFIGURATION = "configuration"
    DEPENDENCY = "dependency"
    PERFORMANCE = "performance"
    SECURITY = "security"
    UNCLEAR = "unclear"


class ApproachKind(StrEnum):
    """What sort of change is proposed; what mentors vote on."""

    FIX_LOGIC = "fix_logic"
    ADD_CODE = "add_code"
    REFACTOR = "refactor"
    REDESIGN = "redesign"
    CHANGE_DATA = "change_data"
    CHANGE_CONFIGURATION = "change_configuration"
    CHANGE_DEPENDENCY = "change_dependency"
    ADD_TESTS = "add_tests"
    DOCUMENT = "document"
    INVESTIGATE = "investigate"


class Risk(StrEnum):
    """How much could go wrong."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Bounded(BaseModel):
    """A part of a model's answer: nothing more than what is asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RootCause(Bounded):
    """Why the work is needed: a kind to vote on and a sentence to read."""

    kind: CauseKind
    text: Sentence


class Approach(Bounded):
    """One way to do it."""

    kind: ApproachKind
    text: Sentence


class Opinion(Bounded):
    """One independent answer of one mentor; `approaches` are ranked, best first."""

    root_cause: RootCause
    approaches: Annotated[tuple[Approach, ...], Field(min_length=1, max_length=APPROACHES_MAX)]
    risk: Risk
    files: Annotated[tuple[FilePath, ...], Field(max_length=FILES_MAX)] = ()
    tests: Annotated[tuple[ShortText, ...], Field(max_length=TESTS_MAX)] = ()
    abstain: bool = False

    @property
    def first(self) -> Approach:
        return self.approaches[0]

    def ranking(self) -> tuple[ApproachKind, ...]:
        """The kinds in order of rank; a kind that is named twice keeps its better rank."""
        return tuple(dict.fromkeys(approach.kind for approach in self.approaches))


class BriefCause(RootCause):
    """A cause in few words."""

    text: BriefText


class BriefApproach(Approach):
    """An approach in few words."""

    text: BriefText


class BriefOpinion(Bounded):
    """What the demonstration model may say: an `Opinion` of some 100 tokens.

    Nobody acts on its words, so nobody should wait for many of them (measured: up to 744 tokens
    and 52 s on two busy cores with the whole `Opinion`).
    """

    root_cause: BriefCause
    approaches: Annotated[tuple[BriefApproach, ...], Field(min_length=1, max_length=1)]
    risk: Risk


Answer = TypeVar("Answer", bound=BaseModel)


def parsed(text: str, shape: type[Answer], *, where: str) -> Answer:
    """The answer that `text` holds: JSON of `shape`, perhaps inside a Markdown code fence.

    Raises:
        TooLarge: over `ANSWER_BYTES_MAX` bytes.
        InvalidInput: naming the first fields that do not fit; `where` is the model.
    """
    size = len(text.encode(errors="replace"))
    if size > ANSWER_BYTES_MAX:
        raise TooLarge(
            f"The answer has {size} bytes; {ANSWER_BYTES_MAX} is the limit.", where=where
        )
    body = _unfenced(text)
    if not body:
        raise InvalidInput("The answer is empty.", where=where, hint="Answer with one JSON object.")
    try:
        return shape.model_validate_json(body)
    except ValidationError as error:
        raise InvalidInput(
            f"The answer does not fit: {_first_problems(error)}.",
            where=where,
            hint="Answer with one JSON object of the shape that was given.",
        ) from None


def _unfenced(text: str) -> str:
    body = text.strip()
    if not (body.startswith("```") and body.endswith("```") and "\n" in body):
        return body
    return body.partition("\n")[2].removesuffix("```").strip()


def _first_problems(error: ValidationError, count: int = 3) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    shown = [
        f"{'.'.join(map(str, problem['loc'])) or 'answer'}: {problem['msg'][:160]}"
        for problem in problems[:count]
    ]
    more = len(problems) - count
    return "; ".join(shown) + (f"; and {more} more" if more > 0 else "")
