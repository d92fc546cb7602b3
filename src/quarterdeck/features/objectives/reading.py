"""Turns a fetched page into its content and passages."""

from __future__ import annotations

import asyncio

from quarterdeck.features.objectives.fetch import Page
from quarterdeck.features.objectives.markup import Content, read_page, read_plain
from quarterdeck.features.objectives.passages import Passage, passages
from quarterdeck.features.objectives.scope import Scope


async def read(page: Page, scope: Scope) -> tuple[Content, list[Passage]]:
    """The page's content and passages; () for a page that asks not to be indexed."""
    return await asyncio.to_thread(_read, page, str(scope.domain_of(page.target)))


def _read(page: Page, source: str) -> tuple[Content, list[Passage]]:
    reader = read_plain if page.media_type == "text/plain" else read_page
    content = reader(page.text)
    if not content.index:
        return content, []
    url = page.target.url
    return content, passages(content.blocks, url=url, title=content.title, source=source)
