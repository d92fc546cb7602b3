"""The providers that an installation's settings describe."""

from __future__ import annotations

from collections.abc import Iterable

from quarterdeck.core.errors import InvalidInput
from quarterdeck.llm.bundled import Bundled
from quarterdeck.llm.port import Provider
from quarterdeck.llm.providers.cloud import Anthropic, Google
from quarterdeck.llm.providers.openai_compatible import OpenAICompatible
from quarterdeck.llm.providers.settings import ProviderSettings


def provider_for(settings: ProviderSettings) -> Provider:
    """The provider for these settings; quick, as nothing is imported, opened or started yet."""
    match settings.kind:
        case "google":
            return Google(settings)
        case "anthropic":
            return Anthropic(settings)
        case "bundled":
            return Bundled(settings.models_dir, host_rate=settings.host_rate)
        case _:
            return OpenAICompatible(settings)


def providers_for(settings: Iterable[ProviderSettings]) -> list[Provider]:
    """The providers for all settings.

    Raises:
        InvalidInput: when two have the same name.
    """
    found: dict[str, Provider] = {}
    for each in settings:
        if each.name in found:
            raise InvalidInput(f"Two providers are called {each.name!r}.", where="providers")
        found[each.name] = provider_for(each)
    return list(found.values())
