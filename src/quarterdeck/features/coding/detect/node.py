"""Node, Bun and Deno: the package manager, and how each test runner is made to write a report."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from quarterdeck.features.coding.commands import Command, Commands, ReportFormat, Source
from quarterdeck.features.coding.detect.host import Host
from quarterdeck.features.coding.detect.scripts import dig, json_of, target_of
from quarterdeck.features.coding.detect.tree import Tree, line_of

_LOCKS = (
    ("pnpm-lock.yaml", "pnpm"),
    ("yarn.lock", "yarn"),
    ("bun.lock", "bun"),
    ("bun.lockb", "bun"),
    ("package-lock.json", "npm"),
    ("npm-shrinkwrap.json", "npm"),
)
_INSTALL = {
    "npm": ("npm", "ci"),
    "pnpm": ("pnpm", "install", "--frozen-lockfile"),
    "yarn": ("yarn", "install", "--frozen-lockfile"),
    "berry": ("yarn", "install", "--immutable"),
    "bun": ("bun", "install", "--frozen-lockfile"),
}
_JUNIT_NODE = ("--test-reporter=junit", "--test-reporter-destination={report}")


def runner_command(words: Sequence[str], provenance: str, *, tree: Tree) -> Command | None:
    """The runner's command line with a report, or None when `words` is no known runner."""
    tool, rest = words[0].rsplit("/", 1)[-1], list(words[1:])
    junit = ReportFormat.JUNIT
    match tool:
        case "node" if "--test" in rest:
            rest = [w for w in rest if not w.startswith("--test-reporter")]
            return Command(_globbed(("node", *_JUNIT_NODE, *rest)), provenance, report=junit)
        case "vitest":
            rest = [w for w in rest if w not in ("run", "watch", "--watch", "--coverage")]
            flags = ("run", "--reporter=junit", "--outputFile={report}")
            return Command((_tool("vitest", tree), *flags, *rest), provenance, report=junit)
        case "jest":
            rest = [w for w in rest if not w.startswith(("--watch", "--coverage", "--ci"))]
            flags = ("--ci", "--json", "--outputFile={report}", "--coverage=false")
            return Command(
                (_tool("jest", tree), *flags, *rest), provenance, report=ReportFormat.JEST
            )
        case "mocha":
            flags = ("--reporter", "xunit", "--reporter-option", "output={report}")
            return Command((_tool("mocha", tree), *rest, *flags), provenance, report=junit)
        case "ava":
            return Command(
                (_tool("ava", tree), "--tap", *rest), provenance, report=ReportFormat.TAP
            )
        case "tap" | "tape":
            return Command((_tool(tool, tree), *rest), provenance, report=ReportFormat.TAP)
        case "deno" if rest[:1] == ["test"]:
            return Command(
                ("deno", "test", "--junit-path={report}", *rest[1:]), provenance, report=junit
            )
        case "bun" if rest[:1] == ["test"]:
            flags = ("--reporter=junit", "--reporter-outfile={report}")
            return Command(("bun", "test", *flags, *rest[1:]), provenance, report=junit)
    return None


def _globbed(argv: tuple[str, ...]) -> tuple[str, ...]:
    """`argv` through a shell where it holds globs, which npm's shell would have expanded."""
    if not any(re.fullmatch(r"[\w./*?-]*[*?][\w./*?-]*", word) for word in argv):
        return argv
    words = (w if re.fullmatch(r"[\w./*?-]+", w) else shlex.quote(w) for w in argv)
    return "sh", "-c", f"exec {' '.join(words)}"


def _tool(name: str, tree: Tree) -> str:
    # Called from node_modules itself: npx would download what is missing.
    return f"node_modules/.bin/{name}"


def package_tool(tree: Tree) -> tuple[str, str]:
    """The package manager and the file (with line) that says so."""
    package = json_of(tree, "package.json")
    stated = package.get("packageManager")
    if isinstance(stated, str) and (match := re.match(r"(npm|pnpm|yarn|bun)@(\d+)", stated)):
        name = "berry" if match[1] == "yarn" and int(match[2]) >= 2 else match[1]
        return name, f"package.json:{line_of(tree.text('package.json'), 'packageManager')}"
    for lock, name in _LOCKS:
        if tree.has(lock):
            berry = name == "yarn" and (tree.has(".yarnrc.yml") or "__metadata" in tree.text(lock))
            return ("berry" if berry else name), f"{lock}:1"
    return "npm", "package.json:1"


def candidates(tree: Tree, host: Host, directory: str) -> list[Commands]:
    """What package.json or deno.json in the root of `tree` say."""
    del host  # which tools are here is judged for all ecosystems alike
    prefix = "" if directory == "." else f"{directory}/"
    found = [_package(tree, prefix, directory)] if tree.has("package.json") else []
    deno = tree.first("deno.json", "deno.jsonc")
    if deno:
        test = Command(
            ("deno", "test", "--junit-path={report}"),
            f"{prefix}{deno}:1",
            report=ReportFormat.JUNIT,
            directory=directory,
        )
        found.append(Commands("deno", test=test, source=Source.MARKER))
    return [commands for commands in found if commands is not None]


def _package(tree: Tree, prefix: str, directory: str) -> Commands | None:
    package = json_of(tree, "package.json")
    tool, why = package_tool(tree)
    test = _script_test(tree, prefix) or _dependency_test(tree, package, prefix)
    if test is None:
        return None
    setup = None
    if package.get("dependencies") or package.get("devDependencies"):
        setup = Command(_INSTALL[tool], f"{prefix}{why}", network=True, directory=directory)
    build = None
    if dig(package, "scripts", "pretest"):
        line = line_of(tree.text("package.json"), '"pretest"')
        name = "yarn" if tool == "berry" else tool
        build = Command(
            (name, "run", "pretest"), f"{prefix}package.json:{line}", directory=directory
        )
    placed = replace(test, directory=directory)
    return Commands("node", setup=setup, build=build, test=placed, source=Source.MARKER)


def _script_test(tree: Tree, prefix: str) -> Command | None:
    script = target_of("npm", "test", tree)
    for step in reversed(script[1] if script else []):
        words = _without_prefix(step.words)
        found = runner_command(words, f"{prefix}package.json:{step.line}", tree=tree)
        if found:
            return replace(found, env=step.env)
    return None


def _dependency_test(tree: Tree, package: dict[str, Any], prefix: str) -> Command | None:
    script = dig(package, "scripts", "test")
    if script and "no test specified" not in str(script):
        return None  # there is a script, but none that we can read
    for name in ("vitest", "jest", "mocha", "ava"):
        if dig(package, "devDependencies", name) or dig(package, "dependencies", name):
            line = line_of(tree.text("package.json"), f'"{name}"')
            return runner_command([name], f"{prefix}package.json:{line}", tree=tree)
    tests = [p for p in tree.paths if re.search(r"(\.test\.[cm]?js|(^|/)test/.*\.[cm]?js)$", p)]
    if tests:
        return runner_command(["node", "--test"], f"{prefix}{tests[0]}:1", tree=tree)
    return None


def _without_prefix(words: tuple[str, ...]) -> tuple[str, ...]:
    while len(words) > 1 and words[0] in ("npx", "cross-env", "pnpm", "bunx", "exec", "c8", "nyc"):
        words = words[1:]
    return words
