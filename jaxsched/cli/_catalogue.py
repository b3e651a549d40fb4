"""The commands that list names: ``policies`` and ``workloads``."""

from __future__ import annotations

import inspect
import re
from typing import Any

import jaxsched as js
from jaxsched.cli._backlog import all_workloads
from jaxsched.cli._output import console_beside


def policies() -> None:
    """List the rules that --policies takes."""
    from jaxsched.show.tables import Listing

    rows = []
    for name in js.policies.names():
        info = js.policies.info(name)
        summary = re.sub(r":math:`(.*?)`", r"\1", info.summary)
        rows.append((", ".join((name, *info.aliases)), _joined(summary, info.source)))
    console_beside().print(Listing(("rule", "what it does"), rows))


def workloads() -> None:
    """List the synthetic lengths that --workload takes."""
    from jaxsched.show.tables import Listing

    rows = []
    for name, workload in all_workloads().items():
        text = inspect.getdoc(workload) or ""
        source = ", ".join(re.findall(r"arXiv:\d+\.\d+", text))
        rows.append((name, _joined(text.partition("\n")[0], source)))
    console_beside().print(Listing(("workload", "what it draws"), rows))


def _joined(*texts: Any) -> str:
    return " ".join(filter(None, texts))
