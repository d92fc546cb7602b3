"""Capped output: the head and the tail of a stream, and how much was left out between them."""

from __future__ import annotations

from collections import deque


class CappedOutput:
    """Keeps the first and the last half of `limit_bytes`; memory stays bounded whatever comes."""

    def __init__(self, limit_bytes: int) -> None:
        self._head = bytearray()
        self._head_limit = limit_bytes // 2
        self._tail: deque[bytes] = deque()
        self._tail_limit = limit_bytes - self._head_limit
        self._tail_size = 0
        self.seen_bytes = 0

    def add(self, piece: bytes) -> None:
        """Take the next piece of the stream."""
        self.seen_bytes += len(piece)
        room = self._head_limit - len(self._head)
        if room > 0:
            self._head += piece[:room]
            piece = piece[room:]
        if piece:
            self._tail.append(piece)
            self._tail_size += len(piece)
            self._trim()

    def _trim(self) -> None:
        while self._tail and self._tail_size - len(self._tail[0]) >= self._tail_limit:
            self._tail_size -= len(self._tail.popleft())

    @property
    def dropped_bytes(self) -> int:
        """How many bytes of the middle are not kept."""
        return max(0, self.seen_bytes - len(self._head) - self._tail_limit)

    def text(self) -> bytes:
        """What was kept, with one line in between that says how much was left out."""
        tail = b"".join(self._tail)[-self._tail_limit :]
        if not self.dropped_bytes:
            return bytes(self._head) + tail
        note = b"\n[... %d bytes left out ...]\n" % self.dropped_bytes
        return bytes(self._head) + note + tail
