"""Taking a statement away: believed least, since it often silences a test by losing behaviour."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from quarterdeck.features.coding.repair.edit import Edit
from quarterdeck.features.coding.repair.source import FunctionNode
from quarterdeck.features.coding.repair.templates.site import Site

PRIOR_MAX = 0.3


def propose(site: Site) -> Iterator[Edit]:
    """The statement replaced by nothing, a condition made constant, a comprehension unfiltered."""
    statement = site.statement
    kept = FunctionNode | ast.ClassDef | ast.Import | ast.ImportFrom | ast.Pass | ast.Try
    if not isinstance(statement, kept) and not site.is_elif:
        yield site.replace(statement, "pass", rule="delete", prior=0.3, removal=True)
    if isinstance(statement, ast.If | ast.While):
        for value in sorted({"True", "False"} - {site.text_of(statement.test)}):
            rule = f"condition {value}"
            yield site.replace(statement.test, value, rule=rule, prior=0.2, removal=True)
    for node in site.of(ast.IfExp):
        for branch in (node.body, node.orelse):
            text = site.fitted(node, site.text_of(branch))
            yield site.replace(node, text, rule="one branch", prior=0.2, removal=True)
