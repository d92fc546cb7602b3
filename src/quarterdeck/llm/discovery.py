"""Which local model servers run and which models they have (ORC-3); a broken one is reported, never raised."""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from quarterdeck.core.errors import InvalidInput, QuarterdeckError
from quarterdeck.llm import bundled
from quarterdeck.llm.port import ModelRef
from quarterdeck.llm.providers.settings import OLLAMA_URL, ProviderSettings

if TYPE_CHECKING:
    import httpx2

PROBE_S = 1.5
MODELS_MAX = 1000
LIST_BYTES_MAX = 4 * 1024 * 1024
_SCRIPTED_HEADER = "x-quarterdeck-scripted"

USUAL_SERVERS = (
    ProviderSettings("ollama", "ollama", base_url=OLLAMA_URL),
    ProviderSettings("lmstudio", "openai_compatible", base_url="http://127.0.0.1:1234"),
    ProviderSettings("llamacpp", "openai_compatible", base_url="http://127.0.0.1:8080"),
    ProviderSettings("vllm", "openai_compatible", base_url="http://127.0.0.1:8000"),
)
"""Where the usual local servers listen by default; looked at only if the settings list them."""


@dataclass(frozen=True, slots=True)
class InstalledModel:
    """A model that a running server has; None means the server does not say.

    `local` is false for names that the server forwards to a cloud. `scripted` answers come from a
    script and not from a model.
    """

    ref: ModelRef
    local: bool
    size_bytes: int | None = None
    parameters: str | None = None
    quantization: str | None = None
    scripted: bool = False

    @property
    def demonstration(self) -> bool:
        return self.ref.demonstration

    @property
    def embedding(self) -> bool:
        """Whether its name says that it makes embeddings and does not chat."""
        name = self.ref.name.lower()
        return "embed" in name or "minilm" in name or "bge-" in name


@dataclass(frozen=True, slots=True)
class ServerReport:
    """How one server was found: `reason` says why it is not `healthy`."""

    name: str
    kind: str
    address: str
    healthy: bool
    reason: str | None
    version: str | None
    models: int
    took_s: float
    scripted: bool = False


@dataclass(frozen=True, slots=True)
class Installed:
    """All models found, in the order of the servers, and a report on each server."""

    models: tuple[InstalledModel, ...]
    servers: tuple[ServerReport, ...]

    def named(self, name: str) -> list[InstalledModel]:
        """Local chat models of this name: `qwen2.5-coder` finds every tag, `qwen2.5-coder:7b` one."""
        return [
            model
            for model in self.models
            if model.local
            and not model.embedding
            and name in {model.ref.name, model.ref.name.partition(":")[0], str(model.ref)}
        ]


@dataclass(frozen=True, slots=True)
class _Found:
    models: tuple[InstalledModel, ...]
    version: str | None = None
    scripted: bool = False


async def discover(
    settings: Sequence[ProviderSettings], *, timeout_s: float = PROBE_S
) -> Installed:
    """Look at every local server in `settings` at once, `timeout_s` for each; cloud ones are not asked."""
    await asyncio.to_thread(importlib.import_module, "quarterdeck.llm.bounded_http")
    from quarterdeck.llm.bounded_http import bounded_client  # noqa: PLC0415 - slow to import

    # One client for all: each would spend 20 ms of CPU on its TLS settings.
    async with bounded_client(local=True, response_bytes=LIST_BYTES_MAX) as client:
        looks = (_looked_at(each, client, timeout_s) for each in settings)
        results = await asyncio.gather(*looks)
    models = tuple(model for found, _report in results for model in found)
    return Installed(models, tuple(report for _found, report in results))


async def _looked_at(
    settings: ProviderSettings, client: httpx2.AsyncClient, timeout_s: float
) -> tuple[tuple[InstalledModel, ...], ServerReport]:
    began_s = time.monotonic()
    found, reason = _Found(()), None
    try:
        async with asyncio.timeout(timeout_s):
            found = await _asked(settings, client)
    except TimeoutError:
        reason = f"It did not answer within {timeout_s:g} s."
    except QuarterdeckError as error:
        reason = error.message
    except Exception as error:  # noqa: BLE001 - whatever is on that port, it must not stop the others
        reason = _reason(error)
    report = ServerReport(
        name=settings.name,
        kind=settings.kind,
        address=settings.address,
        healthy=reason is None,
        reason=reason,
        version=found.version,
        models=len(found.models),
        took_s=time.monotonic() - began_s,
        scripted=found.scripted,
    )
    return found.models, report


def _reason(error: Exception) -> str:
    import httpx2  # noqa: PLC0415 - slow to import

    if isinstance(error, httpx2.ConnectError):
        return "Nothing listens there."
    if isinstance(error, httpx2.TransportError):
        return "It does not speak HTTP properly."
    return f"It does not answer like a model server ({type(error).__name__})."


async def _asked(settings: ProviderSettings, client: httpx2.AsyncClient) -> _Found:
    if not settings.local:
        raise InvalidInput("It is in the cloud and was not asked.")
    if settings.kind == "bundled":
        return _bundled(settings)
    if settings.kind == "ollama":
        return await _ollama(settings, client)
    return await _openai_compatible(settings, client)


def _bundled(settings: ProviderSettings) -> _Found:
    reason = bundled.unavailable_because(settings.models_dir)
    if reason is not None:
        raise InvalidInput(reason)
    model = InstalledModel(
        bundled.MODEL,
        local=True,
        size_bytes=bundled.SIZE_BYTES,
        parameters="135M",
        quantization="Q4_1",
    )
    return _Found((model,))


async def _ollama(settings: ProviderSettings, client: httpx2.AsyncClient) -> _Found:
    address = settings.address.removesuffix("/v1")
    tags, scripted = await _json(settings, client, f"{address}/api/tags")
    version, _ = await _json(settings, client, f"{address}/api/version")
    models = [
        model
        for entry in _entries(tags, "models")
        if (model := _ollama_model(settings.name, entry, scripted=scripted))
    ]
    return _Found(tuple(models), str(version.get("version", "")) or None, scripted)


def _ollama_model(provider: str, entry: dict[str, Any], *, scripted: bool) -> InstalledModel | None:
    ref = _ref(provider, entry.get("model") or entry.get("name"))
    if ref is None:
        return None
    details = entry.get("details") if isinstance(entry.get("details"), dict) else {}
    size = entry.get("size")
    return InstalledModel(
        ref,
        local=ref.local and not entry.get("remote_host"),
        size_bytes=size if isinstance(size, int) and size > 0 else None,
        parameters=_text(details, "parameter_size"),
        quantization=_text(details, "quantization_level"),
        scripted=scripted,
    )


async def _openai_compatible(settings: ProviderSettings, client: httpx2.AsyncClient) -> _Found:
    address = settings.address.removesuffix("/v1")
    listing, scripted = await _json(settings, client, f"{address}/v1/models")
    refs = (_ref(settings.name, entry.get("id")) for entry in _entries(listing, "data"))
    models = [InstalledModel(ref, local=ref.local, scripted=scripted) for ref in refs if ref]
    return _Found(tuple(models), None, scripted)


async def _json(
    settings: ProviderSettings, client: httpx2.AsyncClient, url: str
) -> tuple[dict[str, Any], bool]:
    key = {"authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}
    response = await client.get(url, headers=key)
    if response.status_code != 200:
        raise InvalidInput(f"It answers with status {response.status_code} at {url}.")
    value = orjson.loads(response.content)
    if not isinstance(value, dict):
        raise InvalidInput(f"It does not answer like a model server at {url}.")
    return value, _SCRIPTED_HEADER in response.headers


def _entries(listing: dict[str, Any], key: str) -> Iterable[dict[str, Any]]:
    entries = listing.get(key)
    if not isinstance(entries, list):
        raise InvalidInput(f"Its list of models has no {key!r}.")
    return [entry for entry in entries[:MODELS_MAX] if isinstance(entry, dict)]


def _ref(provider: str, name: object) -> ModelRef | None:
    """The reference to a model; None for a name that could not be asked for anyway."""
    try:
        return ModelRef(provider, name) if isinstance(name, str) else None
    except InvalidInput:
        return None


def _text(details: dict[str, Any], key: str) -> str | None:
    value = details.get(key)
    return value[:40] if isinstance(value, str) and value else None
