"""The configuration every git process of the server runs with, whatever any repository says."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping

Settings = tuple[tuple[str, str], ...]

HARMLESS: Settings = (
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.alternateRefsCommand", "true"),
    ("core.sshCommand", "ssh -o BatchMode=yes"),
    ("core.gitProxy", "none"),
    ("core.askPass", "true"),
    ("core.editor", "true"),
    ("core.pager", "cat"),
    ("credential.helper", ""),
    ("gpg.program", "false"),
    ("gpg.ssh.program", "false"),
    ("log.showSignature", "false"),
    ("commit.gpgSign", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("receive.autogc", "false"),
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("push.recurseSubmodules", "no"),
    ("transfer.fsckObjects", "true"),
    ("core.filesRefLockTimeout", "10000"),
    ("core.packedRefsTimeout", "10000"),
    ("core.protectHFS", "true"),
    ("core.protectNTFS", "true"),
    ("protocol.allow", "never"),
)
"""Settings that could start a program or reach the network are switched off; safe in anybody's
repository, because nothing here changes what is read or written."""

EXACT: Settings = (
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("core.autocrlf", "false"),
    ("core.eol", "lf"),
    ("core.safecrlf", "false"),
    ("core.fileMode", "true"),
    ("core.symlinks", "true"),
    ("core.ignoreCase", "false"),
    ("core.precomposeUnicode", "false"),
    ("core.quotePath", "false"),
    ("core.trustctime", "true"),
    ("core.sparseCheckout", "false"),
    ("core.logAllRefUpdates", "true"),
    ("init.defaultBranch", "main"),
    ("diff.renames", "true"),
    ("merge.renames", "true"),
)
"""Content is kept byte for byte; for the server's own repositories only."""

_OLD_HISTORY = (
    "badTimezone",
    "badEmail",
    "missingEmail",
    "missingNameBeforeEmail",
    "missingSpaceBeforeDate",
    "missingSpaceBeforeEmail",
    "zeroPaddedFilemode",
)

TRANSPORT: Settings = (
    ("protocol.file.allow", "always"),
    ("protocol.https.allow", "always"),
    ("protocol.ssh.allow", "always"),
    # Faults of long-gone git versions that old histories carry and that harm nobody.
    *((f"fetch.fsck.{name}", "warn") for name in _OLD_HISTORY),
)
"""For fetch, ls-remote and push, the only commands that talk to another repository."""

RECEIVE: Settings = (
    ("receive.denyCurrentBranch", "updateInstead"),
    ("receive.denyNonFastForwards", "true"),
    ("receive.denyDeletes", "true"),
    ("receive.fsckObjects", "true"),
    *((f"receive.fsck.{name}", "warn") for name in _OLD_HISTORY),
)
"""For the receiving end of a delivery: a clean checkout follows, everything else is refused."""

ATTRIBUTES = (
    "* -text !eol !crlf !filter !ident !working-tree-encoding"
    " !merge !diff !export-ignore !export-subst !whitespace\n"
)
"""`info/attributes` of a mirror: it outranks every `.gitattributes`, so that no file is converted."""

EXCLUDES = "".join(
    f"{pattern}\n"
    for pattern in (
        "__pycache__/",
        "*.py[co]",
        ".pytest_cache/",
        ".mypy_cache/",
        ".ruff_cache/",
        ".hypothesis/",
        ".venv/",
        "node_modules/",
        ".DS_Store",
    )
)
"""`info/exclude` of a mirror: what runs leave behind and no repository keeps."""


def environment(settings: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The variables that hand `settings` to git as command-scope configuration, which wins."""
    pairs = tuple(settings)
    found = {"GIT_CONFIG_COUNT": str(len(pairs))}
    for number, (key, value) in enumerate(pairs):
        found[f"GIT_CONFIG_KEY_{number}"] = key
        found[f"GIT_CONFIG_VALUE_{number}"] = value
    return found


def remote_command(name: str, variables: Mapping[str, str]) -> str:
    """The shell words that start `git NAME` at the other end of a local transport.

    Git clears its command-scope configuration when it crosses into another repository, so the
    settings travel as assignments in front of the command, every value quoted.
    """
    assignments = " ".join(f"{key}={shlex.quote(value)}" for key, value in variables.items())
    return f"{assignments} git {name}"


def without_filters(names: Iterable[str]) -> Settings:
    """Settings that switch off the named content filters of a repository's own configuration."""
    return tuple(
        (f"filter.{name}.{key}", value)
        for name in names
        for key, value in (("clean", ""), ("smudge", ""), ("process", ""), ("required", "false"))
    )
