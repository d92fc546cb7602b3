"""What the steps of this feature share: mirrors, sandboxes, the signing key and the implementers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from quarterdeck.core.errors import QuarterdeckError
from quarterdeck.core.ids import DEFAULT_WORKSPACE
from quarterdeck.core.mission import Mission
from quarterdeck.features.coding.git.mirror import Mirror, Mirrors
from quarterdeck.features.coding.git.sandbox import empty_trash
from quarterdeck.features.coding.git.signing import SigningKey
from quarterdeck.features.coding.implementers.acp.implementer import AcpImplementer
from quarterdeck.features.coding.implementers.agent.implementer import AgentImplementer
from quarterdeck.features.coding.implementers.choose import Model, Name
from quarterdeck.features.coding.implementers.command import CommandImplementer
from quarterdeck.features.coding.implementers.confined import Grants
from quarterdeck.features.coding.implementers.port import Implementer
from quarterdeck.features.coding.implementers.repair import RepairImplementer
from quarterdeck.features.coding.settings import CodingSettings
from quarterdeck.llm.gateway import Gateway, OnUsage
from quarterdeck.llm.port import ModelRef
from quarterdeck.storage.directory import DataDirectory
from quarterdeck.storage.log import Log

InstalledModels = Callable[[], Awaitable[Sequence[ModelRef]]]


class Coding:
    """Wired once; `installed` lists the models that can be asked now."""

    def __init__(
        self,
        directory: DataDirectory,
        log: Log,
        gateway: Gateway,
        installed: InstalledModels,
        settings: CodingSettings,
    ) -> None:
        self.settings = settings
        self.log = log
        self._directory = directory
        self._gateway = gateway
        self._installed = installed
        self._mirrors = Mirrors(directory.mirrors)
        self._grants = Grants(
            readable=settings.readable,
            model_ports=settings.model_ports,
            allow_weak=settings.allow_weak,
        )

    async def start(self) -> None:
        """Make the signing key at the first start, and finish what a stop cut short."""
        self.key = await asyncio.to_thread(SigningKey.load_or_create, self._directory.key)
        await asyncio.to_thread(empty_trash, self._directory.sandboxes)

    async def mirror(self, mission: Mission) -> Mirror:
        """The up-to-date mirror of the mission's target; of a new repository where none is named.

        Raises:
            InvalidInput, NotFound, GitFailed: when there is no such repository, saying why.
        """
        return await self._mirrors.open(mission.repository, name=mission.parent or mission.id)

    def sandbox_path(self, mission: Mission) -> Path:
        """Where the mission's tree is: `sandbox/ID` (DOC-2), apart for each other workspace."""
        root = self._directory.sandboxes
        if mission.workspace != DEFAULT_WORKSPACE:
            root = self._directory.root / "workspaces" / mission.workspace / "sandbox"
        return root / mission.id

    async def best_model(self) -> tuple[Model, ModelRef | None]:
        """The best model for writing code, and how much is known of it."""
        if self.settings.agent_model is not None:
            return Model.CAPABLE, self.settings.agent_model
        try:
            installed = list(await self._installed())
        except QuarterdeckError:
            return Model.NONE, None
        real = [ref for ref in installed if ref.local and not ref.demonstration]
        if real:
            coders = [ref for ref in real if "cod" in ref.name.lower()]
            return Model.UNPROVEN, (coders or real)[0]
        return (Model.DEMONSTRATION if installed else Model.NONE), None

    def implementer(self, name: Name, *, model: ModelRef | None, on_usage: OnUsage) -> Implementer:
        """The implementer of this name, telling `on_usage` about its model calls."""
        match name:
            case Name.REPAIR:
                return RepairImplementer()
            case Name.COMMAND:
                return CommandImplementer(grants=self._grants)
            case Name.ACP:
                return AcpImplementer(grants=self._grants)
            case Name.AGENT:
                return AgentImplementer(
                    self._gateway,
                    model=model,
                    allow_cloud=self.settings.cloud_allowed,
                    grants=self._grants,
                    repair=RepairImplementer(),
                    on_usage=on_usage,
                )
            case Name.BY_HAND:
                raise AssertionError("a person is asked, not run")
