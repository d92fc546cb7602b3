"""What a page says: title, text and links, read in one pass whose time grows with its length only.

The standard library's parser is not used: 200 kB of `<!--` keep it busy for 23 seconds.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

LINKS_MAX = 500
BLOCKS_MAX = 5000
TITLE_CHARS_MAX = 300
HREF_CHARS_MAX = 2048

_NAME = re.compile(r"[a-zA-Z][^\s/>\x00]{0,63}")
_ATTRIBUTE = re.compile(r"[\s/]*+([^\s=>/\"'][^\s=>/]{0,63}+)?")
_EQUALS = re.compile(r"\s*+=\s*+")
_BARE = re.compile(r"[^\s>]*+")
_SPACES = re.compile(r"\s+")
_RAW = {
    name: re.compile(f"</{name}", re.IGNORECASE)
    for name in ("script", "style", "textarea", "title", "noscript", "iframe", "template")
}
"""Elements whose content holds no tags that count."""
_SILENT = frozenset(_RAW) - {"title", "noscript"}
_INLINE_NAMES = (
    "a abbr b bdi bdo cite code data del dfn em font i img ins kbd label mark q s samp small span"
    " strong sub sup time tt u var wbr"
)
_INLINE = frozenset(_INLINE_NAMES.split())


@dataclass(frozen=True, slots=True)
class Tag:
    """A start tag, or an end tag when its name begins with `/`."""

    name: str
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Link:
    """Where a page points to, with the words of the link."""

    href: str
    text: str


@dataclass(frozen=True, slots=True)
class Content:
    """What was read: text in `blocks` (paragraphs, cells, headings), links as written.

    `base` is the page's own word on what its links are relative to; `index` and `follow` are what
    it asks of robots.
    """

    title: str = ""
    blocks: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()
    base: str | None = None
    index: bool = True
    follow: bool = True


def read_page(text: str) -> Content:
    """The content of an HTML page; never raises, whatever the text is."""
    reading = _Reading()
    for token in tokens(text):
        if isinstance(token, Tag):
            reading.tag(token)
        else:
            reading.text(token)
    return reading.content()


def read_plain(text: str) -> Content:
    """The content of a plain text: blocks are divided by empty lines."""
    blocks = (plain(block) for block in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n")))
    return Content(blocks=tuple(block for block in blocks if block)[:BLOCKS_MAX])


def read_sitemap(text: str) -> tuple[list[str], list[str]]:
    """(pages, further sitemaps) that a sitemap lists (sitemaps.org 0.9)."""
    pages: list[str] = []
    sitemaps: list[str] = []
    into: list[str] | None = None
    holder = pages
    for token in tokens(text):
        if isinstance(token, Tag):
            holder = {"url": pages, "sitemap": sitemaps}.get(token.name, holder)
            into = holder if token.name == "loc" else None
        elif into is not None and len(into) < LINKS_MAX and token.strip():
            into.append(unescaped(token).strip())
    return pages, sitemaps


def tokens(text: str) -> Iterator[Tag | str]:
    """Tags and the text between them; what is never closed ends the page."""
    at = 0
    while at < len(text):
        opened = text.find("<", at)
        if opened < 0:
            yield text[at:]
            return
        if opened > at:
            yield text[at:opened]
        token, at = _markup(text, opened)
        if token is None:
            continue
        yield token
        if isinstance(token, Tag) and token.name in _RAW:
            closed = _RAW[token.name].search(text, at)
            end = closed.start() if closed else len(text)
            if token.name not in _SILENT:
                yield text[at:end]
            at = end


def plain(text: str) -> str:
    """Text with its character references resolved and its spaces made one."""
    return _SPACES.sub(" ", unescaped(text)).strip()


def unescaped(text: str) -> str:
    """Text with its character references resolved; one that is no character leaves all as it is."""
    try:
        return html.unescape(text)
    except ValueError:  # a number of more digits than Python reads
        return text


def _markup(text: str, at: int) -> tuple[Tag | str | None, int]:
    """The token that begins at a `<`, and where it ends."""
    following = text[at + 1 : at + 2]
    if text.startswith("<!--", at):
        return None, _after(text, "-->", at + 4)
    if following in {"!", "?"}:
        return None, _after(text, ">", at + 2)
    closing = following == "/"
    name = _NAME.match(text, at + 1 + closing)
    if name is None:
        return ("<", at + 1) if not closing else (None, _after(text, ">", at + 2))
    if closing:
        return Tag(f"/{name[0].lower()}"), _after(text, ">", name.end())
    attributes, end = _attributes(text, name.end())
    return Tag(name[0].lower(), attributes), end


def _attributes(text: str, at: int) -> tuple[dict[str, str], int]:
    found: dict[str, str] = {}
    while at < len(text) and text[at] != ">":
        name = _ATTRIBUTE.match(text, at)
        end = name.end() if name else at
        value, after = _value(text, end)
        if name is not None and name[1] and len(found) < 32:
            found.setdefault(name[1].lower(), value)
        at = after if after > at else at + 1
    return found, at + 1


def _value(text: str, at: int) -> tuple[str, int]:
    equals = _EQUALS.match(text, at)
    if equals is None:
        return "", at
    start = equals.end()
    quote = text[start : start + 1]
    if quote in {'"', "'"}:
        end = text.find(quote, start + 1)
        end = len(text) if end < 0 else end
        return text[start + 1 : end][:HREF_CHARS_MAX], end + 1
    bare = _BARE.match(text, start)
    end = bare.end() if bare else start
    return text[start:end][:HREF_CHARS_MAX], end


def _after(text: str, mark: str, at: int) -> int:
    found = text.find(mark, at)
    return len(text) if found < 0 else found + len(mark)


class _Reading:
    """Gathers a page's tokens."""

    def __init__(self) -> None:
        self._title: list[str] = []
        self._blocks: list[str] = []
        self._block: list[str] = []
        self._links: list[Link] = []
        self._link: tuple[str, list[str]] | None = None
        self._in_title = False
        self._base: str | None = None
        self._robots = ""

    def tag(self, tag: Tag) -> None:
        self._in_title = tag.name == "title"
        if tag.name.removeprefix("/") not in _INLINE:
            self._end_block()
        if tag.name in {"a", "/a"}:
            self._end_link()
        if tag.name in {"a", "area"} and "href" in tag.attributes:
            self._link = (tag.attributes["href"], [])
        elif tag.name == "base":
            self._base = self._base or tag.attributes.get("href")
        elif tag.name == "meta" and tag.attributes.get("name", "").lower() == "robots":
            self._robots += f",{tag.attributes.get('content', '').lower()}"

    def text(self, text: str) -> None:
        if self._in_title:
            self._title.append(text)
            return
        self._block.append(text)
        if self._link is not None:
            self._link[1].append(text[:TITLE_CHARS_MAX])

    def content(self) -> Content:
        self._end_link()
        self._end_block()
        asked = {word.strip() for word in self._robots.split(",")}
        return Content(
            title=plain("".join(self._title))[:TITLE_CHARS_MAX],
            blocks=tuple(self._blocks),
            links=tuple(self._links),
            base=self._base,
            index=not asked & {"noindex", "none"},
            follow=not asked & {"nofollow", "none"},
        )

    def _end_block(self) -> None:
        block = plain("".join(self._block))
        self._block.clear()
        if block and len(self._blocks) < BLOCKS_MAX:
            self._blocks.append(block)

    def _end_link(self) -> None:
        if self._link is not None and len(self._links) < LINKS_MAX:
            href, words = self._link
            self._links.append(Link(unescaped(href), plain("".join(words))[:TITLE_CHARS_MAX]))
        self._link = None
