"""The child process that serves the bundled model on loopback: started by `bundled`, never imported.

It reads one line of JSON from its standard input (`path`, `alias`, `key`, `threads`,
`context_tokens`), writes one line back (`address` or `error`), and ends when its standard input
does or its parent is gone.
"""

from __future__ import annotations

import importlib
import json
import os
import selectors
import sys
from pathlib import Path
from typing import Any

_PARENT_CHECK_S = 5.0
_NICENESS = 5


def main() -> None:
    """Serve until the parent lets go."""
    parent = os.getppid()
    _be_expendable()
    try:
        server = _started(json.loads(sys.stdin.readline()))
    except (ImportError, RuntimeError, ValueError, OSError) as error:
        _say({"error": f"{type(error).__name__}: {error}"})
        return
    _say({"address": server.listening_address})
    parent_spoke = selectors.DefaultSelector()
    parent_spoke.register(sys.stdin, selectors.EVENT_READ)
    while os.getppid() == parent:
        if parent_spoke.select(_PARENT_CHECK_S):
            break
    # The server would first finish what it is saying; nobody is listening any more.
    os._exit(0)


def _be_expendable() -> None:
    """When the machine runs short of time or memory, this process gives way before the product."""
    os.nice(_NICENESS)
    score = Path("/proc/self/oom_score_adj")
    if score.exists():
        score.write_text("800")


def _started(order: dict[str, Any]) -> Any:
    # An optional extra; its absence is reported to the parent.
    xllamacpp = importlib.import_module("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = order["path"]
    params.model_alias = {order["alias"]}
    params.api_keys = [order["key"]]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_parallel = 1
    params.n_ctx = order["context_tokens"]
    params.cpuparams.n_threads = order["threads"]
    params.cpuparams_batch.n_threads = order["threads"]
    params.endpoint_slots = False
    params.ui = False
    params.offline = True
    return xllamacpp.Server(params)


def _say(value: dict[str, str]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
