"""Confinement: every command, test run and agent of the product runs through here."""

from quarterdeck.confine.command import run_command
from quarterdeck.confine.level import LevelReport, probe
from quarterdeck.confine.policy import Confinement, Level, Limits, Network, StoppedBy
from quarterdeck.confine.process import ConfinedProcess, start_command
from quarterdeck.confine.result import CommandResult, Ending

__all__ = [
    "CommandResult",
    "ConfinedProcess",
    "Confinement",
    "Ending",
    "Level",
    "LevelReport",
    "Limits",
    "Network",
    "StoppedBy",
    "probe",
    "run_command",
    "start_command",
]
