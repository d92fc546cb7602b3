"""Ecosystems whose commands follow from a marker file alone, as declared data (research §3.3)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from quarterdeck.features.coding.commands import Command, Commands, ReportFormat, Source
from quarterdeck.features.coding.detect.tree import Tree

CMAKE_BUILD = "qd-build"
# Cargo names the test binary on the other stream; in one pipe the order is certain.
MERGED = 'exec "$0" "$@" 2>&1'


@dataclass(frozen=True, slots=True)
class Family:
    """One row of the table.

    `markers` are globs of file names in the root, the first match wins. `words` open the command
    line by which a CI job or a wrapper is recognised; `kept` are the arguments, as a pattern, that
    such a line passes on. `wrapper` is a script in the tree that takes the place of the tool.
    `reporter` is (pattern of text, sentence): without the text in the marker files no report can be
    had, and the sentence says what would help.
    """

    ecosystem: str
    markers: tuple[str, ...]
    test: tuple[str, ...]
    report: ReportFormat
    words: tuple[tuple[str, ...], ...]
    setup: tuple[str, ...] | None = None
    build: tuple[str, ...] | None = None
    report_glob: str | None = None
    wrapper: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    kept: str | None = None
    reporter: tuple[str, str] | None = None


_SUREFIRE = "**/target/surefire-reports/TEST-*.xml"
_CONFIGURE = f'cmake -S . -B {CMAKE_BUILD} "$@" && cmake --build {CMAKE_BUILD}'
_NO_READER = "its reports cannot be read yet; state a test command with a JUnit report"

FAMILIES: tuple[Family, ...] = (
    Family(
        "rust",
        ("Cargo.toml",),
        ("sh", "-c", MERGED, "cargo", "test", "--no-fail-fast"),
        ReportFormat.CARGO,
        (("cargo", "test"), ("cargo", "nextest", "run")),
        setup=("cargo", "fetch", "--locked"),
        env={"CARGO_NET_OFFLINE": "true", "CARGO_TERM_COLOR": "never"},
        kept=r"--(workspace|all|all-features|no-default-features|all-targets|lib|bins|tests)|"
        r"--(features|package)(=.+)?|-p|-F|[a-z0-9_,/-]+",
    ),
    Family(
        "go",
        ("go.work", "go.mod"),
        ("go", "test", "-json", "./..."),
        ReportFormat.GO_JSON,
        (("go", "test"),),
        setup=("go", "mod", "download"),
        env={"GOPROXY": "off", "GOTOOLCHAIN": "local"},
        kept=r"-(tags|short|race|shuffle)(=.+)?|\./\S*|\w[\w./-]*",
    ),
    Family(
        "java",
        ("pom.xml",),
        ("mvn", "-B", "-o", "-fae", "test"),
        ReportFormat.JUNIT,
        (("mvn",), ("./mvnw",)),
        setup=("mvn", "-B", "dependency:go-offline"),
        report_glob=_SUREFIRE,
        wrapper="mvnw",
    ),
    Family(
        "gradle",
        ("settings.gradle*", "build.gradle*"),
        ("gradle", "--offline", "--continue", "test"),
        ReportFormat.JUNIT,
        (("gradle",), ("./gradlew",)),
        report_glob="**/build/test-results/**/*.xml",
        wrapper="gradlew",
    ),
    Family(
        "scala",
        ("build.sbt",),
        ("sbt", "-batch", "test"),
        ReportFormat.JUNIT,
        (("sbt",),),
        report_glob="**/target/test-reports/*.xml",
    ),
    Family(
        "dotnet",
        ("*.slnx", "*.sln", "*.csproj", "*.fsproj"),
        ("dotnet", "test", "--logger", "trx"),
        ReportFormat.TRX,
        (("dotnet", "test"),),
        setup=("dotnet", "restore"),
        report_glob="**/TestResults/*.trx",
    ),
    Family(
        "ruby",
        ("Gemfile", "*.gemspec"),
        ("bundle", "exec", "rspec", "--format", "RspecJunitFormatter", "--out", "{report}"),
        ReportFormat.JUNIT,
        (("bundle", "exec", "rspec"), ("rspec",), ("bundle", "exec", "rake"), ("rake",)),
        setup=("bundle", "install"),
        reporter=(
            "rspec_junit_formatter",
            "RSpec writes a JUnit report only with the gem rspec_junit_formatter",
        ),
    ),
    Family(
        "php",
        ("composer.json", "phpunit.xml", "phpunit.xml.dist"),
        ("vendor/bin/phpunit", "--log-junit", "{report}"),
        ReportFormat.JUNIT,
        (("vendor/bin/phpunit",), ("./vendor/bin/phpunit",), ("phpunit",)),
        setup=("composer", "install", "--no-interaction"),
        kept=r"--(testsuite|configuration|group|filter)(=.+)?|[\w./-]+",
    ),
    Family(
        "elixir",
        ("mix.exs",),
        ("mix", "test", "--formatter", "JUnitFormatter"),
        ReportFormat.JUNIT,
        (("mix", "test"),),
        setup=("mix", "deps.get"),
        report_glob="_build/test/lib/*/*.xml",
        reporter=("junit_formatter", "ExUnit writes a JUnit report only with junit_formatter"),
    ),
    Family(
        "cmake",
        ("CMakeLists.txt",),
        ("ctest", "--test-dir", CMAKE_BUILD, "--output-on-failure", "--output-junit", "{report}"),
        ReportFormat.JUNIT,
        (("ctest",),),
        build=("sh", "-c", _CONFIGURE, "sh"),
        reporter=("enable_testing|include *\\( *CTest", "CMakeLists.txt enables no tests"),
    ),
    Family(
        "meson",
        ("meson.build",),
        ("meson", "test", "-C", CMAKE_BUILD),
        ReportFormat.JUNIT,
        (("meson", "test"),),
        build=("meson", "setup", CMAKE_BUILD),
        report_glob=f"{CMAKE_BUILD}/meson-logs/testlog.junit.xml",
    ),
    Family(
        "swift",
        ("Package.swift",),
        ("swift", "test", "--parallel", "--xunit-output", "{report}"),
        ReportFormat.JUNIT,
        (("swift", "test"),),
        setup=("swift", "package", "resolve"),
    ),
    Family(
        "dart",
        ("pubspec.yaml",),
        ("dart", "test"),
        ReportFormat.TAP,
        (("dart", "test"), ("flutter", "test")),
        setup=("dart", "pub", "get"),
        reporter=(r"(?!)", _NO_READER),
    ),
    Family(
        "gleam",
        ("gleam.toml",),
        ("gleam", "test"),
        ReportFormat.TAP,
        (("gleam", "test"),),
        setup=("gleam", "deps", "download"),
        reporter=(r"(?!)", _NO_READER),
    ),
)


def candidates(tree: Tree, directory: str) -> list[Commands]:
    """What the markers in the root of `tree` say."""
    found: list[Commands] = []
    for family in FAMILIES:
        marker = tree.first(*family.markers)
        if marker is None:
            continue
        prefix = "" if directory == "." else f"{directory}/"
        found.append(commands_of(family, tree, f"{prefix}{marker}:1", directory, Source.MARKER))
    return found


def commands_of(
    family: Family,
    tree: Tree,
    provenance: str,
    directory: str,
    source: Source,
    *,
    words: Sequence[str] = (),
) -> Commands:
    """The family's commands; `words` are arguments a CI line adds."""
    extra = [w for w in words if family.kept and re.fullmatch(family.kept, w)]
    test = Command(
        (*_through_wrapper(family, tree, _argv(family, tree, extra)),),
        provenance,
        report=family.report,
        report_glob=family.report_glob,
        env=family.env,
        directory=directory,
    )
    setup = None
    if family.setup and _downloads(family, tree):
        argv = _through_wrapper(family, tree, family.setup)
        setup = Command(argv, provenance, network=True, directory=directory)
    build = Command(family.build, provenance, directory=directory) if family.build else None
    return Commands(
        family.ecosystem,
        setup=setup,
        build=build,
        test=test,
        source=source,
        unproved=_missing_reporter(family, tree),
    )


def _argv(family: Family, tree: Tree, extra: list[str]) -> tuple[str, ...]:
    if family.ecosystem == "go" and tree.has("go.work") and not extra:
        modules = re.findall(
            r"^\s*(?:use\s+)?(\./[\w./-]+)\s*$", tree.text("go.work"), re.MULTILINE
        )
        return (*family.test[:-1], *(f"{m.rstrip('/')}/..." for m in modules))
    if family.ecosystem == "go" and any(not w.startswith("-") for w in extra):
        return (*family.test[:-1], *extra)
    if family.ecosystem == "go":
        return (*family.test[:-1], *extra, family.test[-1])
    return (*family.test, *extra)


def _through_wrapper(family: Family, tree: Tree, argv: tuple[str, ...]) -> tuple[str, ...]:
    if family.wrapper and tree.has(family.wrapper):
        return ("sh", family.wrapper, *argv[1:])
    return argv


def _downloads(family: Family, tree: Tree) -> bool:
    """Whether there is anything to fetch; a crate or module without needs is ready as it is."""
    if family.ecosystem == "go":
        return tree.has("go.sum")
    if family.ecosystem == "rust":
        return "dependencies]" in tree.text("Cargo.toml")
    return True


def _missing_reporter(family: Family, tree: Tree) -> str | None:
    if family.reporter is None:
        return None
    pattern, sentence = family.reporter
    files = [p for name in family.markers for p in tree.paths if p in (name, f"{name}.lock")]
    return None if any(re.search(pattern, tree.text(p)) for p in files) else f"{sentence}."
