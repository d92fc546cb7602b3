"""A model's answer that is streamed to whoever follows the mission, while it comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from quarterdeck.llm.chunks import Chunk, text_delta, text_end
from quarterdeck.llm.port import Delta, Reply


async def streamed(
    parts: AsyncGenerator[Delta | Reply], say: Callable[[Chunk], None], *, part: str = "answer"
) -> Reply:
    """Say each delta of `Gateway.stream` as a text part, and return the reply at its end.

    `say` is `StepContext.stream`. Raises what the stream raises; the text is closed by then.
    """
    try:
        async with aclosing(parts):
            async for one in parts:
                if isinstance(one, Reply):
                    return one
                say(text_delta(part, one.text))
    finally:
        say(text_end(part))
    raise AssertionError("a stream ends with a reply or an error")
