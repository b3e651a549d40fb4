"""The commands that list names: ``policies``, ``workloads`` and ``servers``."""

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


def servers() -> None:
    """List the servers that --server takes: clock, KV capacity, source and error of the fit."""
    from jaxsched._lib.layout import Column, Layout
    from jaxsched.show.tables import FittedTable

    infos = [js.servers.info(name) for name in js.servers.names()]
    sources = list(dict.fromkeys(info.source for info in infos))
    clock = [
        Column(header, [f"{getattr(info.server.clock, field):.3g}" for info in infos])
        for header, field in (
            ("iteration", "iteration_ms"),
            ("prompt\ntoken", "prefill_ms_per_token"),
            ("decoding\nrequest", "decode_ms_per_request"),
            ("held\ntoken", "kv_ms_per_token"),
            ("squared\nprompt\ntoken", "attention_ms_per_squared_token"),
        )
    ]
    layout = Layout(
        title="Servers: what each part of an iteration takes, in milliseconds",
        columns=[
            Column("server", [info.name for info in infos]),
            Column("KV\ntokens", [f"{info.server.kv_capacity:,}" for info in infos]),
            *clock,
            Column("mean\nerror", [f"{info.mean_error:.0%}" for info in infos]),
            Column("largest\nerror", [f"{info.max_error:.0%}" for info in infos]),
            Column("source", [f"[{1 + sources.index(info.source)}]" for info in infos]),
        ],
        caption="\n".join(f"[{number}] {source}" for number, source in enumerate(sources, 1)),
    )
    console_beside().print(FittedTable(layout))


def _joined(*texts: Any) -> str:
    return " ".join(filter(None, texts))
