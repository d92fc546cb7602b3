"""What the AI SDK's `useChat` and `useCompletion` send, read strictly and without I/O (STR-5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from quarterdeck.core.errors import InvalidInput
from quarterdeck.core.events import Json
from quarterdeck.core.mission import BRIEF_MAX
from quarterdeck.core.validated import validated

MESSAGES_MAX = 200
PARTS_MAX = 5_000
ID_MAX = 200

Trigger = Literal["submit-message", "regenerate-message"]
_Id = Annotated[str, StringConstraints(min_length=1, max_length=ID_MAX)]
_FIELDS = frozenset({"id", "messages", "trigger", "messageId", "prompt"})


class _Message(BaseModel):
    """One message of a chat; fields of newer clients pass."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "user", "assistant"]
    id: str = ""
    parts: Annotated[list[dict[str, Any]], Field(max_length=PARTS_MAX)] = Field(
        default_factory=list
    )
    content: str | None = None
    metadata: Any = None


class _Body(BaseModel):
    model_config = ConfigDict(extra="allow")

    id: _Id | None = None
    messages: Annotated[list[_Message], Field(min_length=1, max_length=MESSAGES_MAX)] | None = None
    trigger: Trigger = "submit-message"
    messageId: _Id | None = None
    prompt: Annotated[str, StringConstraints(max_length=BRIEF_MAX)] | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person said to an approval, as the client holds it.

    `approval` is the id of the approval part, `given` what the person was shown.
    """

    approval: str
    approved: bool
    reason: str
    given: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of either hook.

    `text` is the prompt, or the text of the last message when it is a person's; None when the
    client goes on with an answer that waited: `decisions` then say what people decided, and
    `after` is the place in the stream up to which the client has read (0 when it does not say).
    `more` are the fields of the body that are not the protocol's.
    """

    chat: str | None
    text: str | None
    trigger: Trigger
    message_id: str | None
    decisions: tuple[Decision, ...] = ()
    after: int = 0
    more: Mapping[str, Json] = field(default_factory=dict)


def asked(body: Json) -> Asked:
    """Read a body of `useCompletion` (`prompt`) or `useChat` (`id`, `messages`, `trigger`…).

    Raises:
        InvalidInput: naming the field that does not fit.
    """
    if not isinstance(body, Mapping):
        raise InvalidInput("It is not a JSON object.", where="body", hint='Send {"prompt": "…"}.')
    given = validated(_Body, dict(body))
    more = {name: value for name, value in body.items() if name not in _FIELDS}
    if (given.prompt is None) is (given.messages is None):
        raise InvalidInput(
            "It has either both of prompt and messages, or neither.",
            where="body",
            hint="useCompletion sends prompt, useChat sends messages.",
        )
    if given.messages is None:
        text = _worded(given.prompt or "", "prompt")
        return Asked(given.id, text, given.trigger, given.messageId, more=more)
    last = given.messages[-1]
    if last.role == "assistant" and given.trigger == "submit-message":
        return Asked(
            given.id,
            None,
            given.trigger,
            given.messageId,
            _decisions(last.parts),
            _place(last.metadata),
            more,
        )
    text = _worded(_last_text(given.messages), "messages")
    return Asked(given.id, text, given.trigger, given.messageId, more=more)


def _last_text(messages: Sequence[_Message]) -> str:
    place = next((i for i in reversed(range(len(messages))) if messages[i].role == "user"), None)
    if place is None:
        raise InvalidInput("No message is a person's.", where="messages")
    texts: list[str] = []
    for number, part in enumerate(messages[place].parts):
        if part.get("type") == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif part.get("type") != "step-start":
            raise InvalidInput(
                f"A part of type {str(part.get('type'))[:40]!r} cannot be taken here.",
                where=f"messages.{place}.parts.{number}",
                hint="Send text only.",
            )
    return "\n".join(texts) if texts else messages[place].content or ""


def _worded(text: str, where: str) -> str:
    if not text.strip():
        raise InvalidInput("It says nothing.", where=where, hint="Say what is wanted.")
    if len(text) > BRIEF_MAX:
        raise InvalidInput(f"It is longer than {BRIEF_MAX} characters.", where=where)
    return text


def _decisions(parts: Sequence[Mapping[str, Json]]) -> tuple[Decision, ...]:
    return tuple(
        Decision(
            str(part["approval"]["id"]),
            part["approval"].get("approved") is True,
            str(part["approval"].get("reason") or ""),
            part["input"] if isinstance(part.get("input"), Mapping) else {},
        )
        for part in parts
        if part.get("state") == "approval-responded"
        and isinstance(part.get("approval"), Mapping)
        and "id" in part["approval"]
    )


def _place(metadata: Json) -> int:
    seq = metadata.get("seq") if isinstance(metadata, Mapping) else None
    return seq if isinstance(seq, int) and not isinstance(seq, bool) and seq > 0 else 0
