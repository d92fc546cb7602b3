"""What a model's name tells: its base, tag and size, whether it talks, and whether it is ours."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from quarterdeck.llm.port import ModelRef

_SIZE = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)(b|m)(?![a-z0-9])")
_UNTUNED = ("base", "text", "foundation")
_EMBEDDERS = ("embed", "minilm", "bge-", "gte-", "e5-", "rerank")


@dataclass(frozen=True, slots=True)
class Installed:
    """A model that can be asked now; `local` means that its server is a machine of ours."""

    ref: ModelRef
    local: bool = True

    @property
    def ours(self) -> bool:
        """Whether the brief stays with us when it is asked.

        A local server also lists names that it only forwards (`…:cloud`, `…:120b-cloud`).
        """
        forwarded = re.search(r"[:-]cloud$", self.ref.name.lower())
        return self.local and self.ref.local and not forwarded

    @property
    def talks(self) -> bool:
        """False for models whose names say that they only embed or rank."""
        return not any(sign in self.ref.name.lower() for sign in _EMBEDDERS)


def base_of(name: str) -> str:
    """The name without tag, registry and owner: `library/Qwen2.5-Coder:7b` is `qwen2.5-coder`."""
    return name.rsplit("/", 1)[-1].partition(":")[0].lower()


def tag_of(name: str) -> str:
    """The tag in lower case, or "" where the name carries none."""
    return name.rsplit("/", 1)[-1].partition(":")[2].lower()


def parameters(name: str) -> float:
    """The number of parameters that the name states, or 0.0 where it states none."""
    sizes = [float(n) * {"b": 1e9, "m": 1e6}[unit] for n, unit in _SIZE.findall(name.lower())]
    return max(sizes, default=0.0)


def best_tag(wanted: str, installed: Iterable[Installed]) -> Installed | None:
    """The installed model that stands for `wanted`, or None.

    `wanted` is a name with or without tag and provider; with a tag, only that tag will do. Without
    one: a tuned variant before an untuned one (`base`, `text`), then the most parameters stated,
    then `latest` or no tag, then alphabetical order.
    """
    same = [model for model in installed if _is_called(model.ref, wanted)]
    return min(same, key=_preference, default=None)


def _is_called(ref: ModelRef, wanted: str) -> bool:
    tag = tag_of(wanted)
    if tag and tag != (tag_of(ref.name) or "latest"):
        return False
    called = wanted.lower().removesuffix(f":{tag}")
    whole = ref.name.lower().removesuffix(f":{tag_of(ref.name)}")
    return called in (base_of(ref.name), whole, f"{ref.provider}/{whole}")


def _preference(model: Installed) -> tuple[bool, float, bool, str]:
    tag = tag_of(model.ref.name)
    untuned = any(part in _UNTUNED for part in re.split(r"[-_]", tag))
    return untuned, -parameters(model.ref.name), tag not in ("", "latest"), str(model.ref)


def file_names(models: Iterable[ModelRef]) -> dict[ModelRef, str]:
    """For each model the stem of its answer's file (DOC-2).

    The name without tag; where two would collide the tag is added, then the provider, at last a
    digest of the name.
    """
    names: dict[ModelRef, str] = {}
    pending = list(dict.fromkeys(models))
    for spelled in (_by_base, _by_tag, _by_provider):
        stems = [spelled(ref) for ref in pending]
        spelt = zip(pending, stems, strict=True)
        taken = [*stems, *names.values()]
        names |= {ref: stem for ref, stem in spelt if taken.count(stem) == 1}
        pending = [ref for ref in pending if ref not in names]
    return names | {ref: _by_digest(ref) for ref in pending}


def _by_base(ref: ModelRef) -> str:
    return _safe(base_of(ref.name))


def _by_tag(ref: ModelRef) -> str:
    return _safe(f"{base_of(ref.name)}_{tag_of(ref.name) or 'latest'}")


def _by_provider(ref: ModelRef) -> str:
    return _safe(f"{ref.provider}_{ref.name}")


def _by_digest(ref: ModelRef) -> str:
    return f"{_by_provider(ref)}_{hashlib.sha256(str(ref).encode()).hexdigest()[:8]}"


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", name).lstrip(".-")[:100] or "model"
