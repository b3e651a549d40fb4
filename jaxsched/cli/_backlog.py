"""From options to the instances, clocks and rules they ask for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jax

from jaxsched import policies, workloads
from jaxsched._lib.names import hint
from jaxsched.model.clock import LinearClock
from jaxsched.model.instance import Instance
from jaxsched.servers.named import PRESET_KV_CAPACITY, PRESETS
from jaxsched.workloads import traces

DEFAULT_CAPACITY = 16492
_DEFAULT_WORKLOAD = "mixed"
_DEFAULT_REQUESTS = 1000
DEFAULT_INSTANCES = 64
_MAX_REQUESTS = 2**28  # about 10 GB of lengths, priorities and schedules

#: What ``--workload`` takes.
WORKLOADS: dict[str, Callable[..., Instance]] = {
    **workloads.WORKLOADS,
    "uniform": workloads.uniform,
}


def make_backlog(
    workload: str | None,
    trace: Path | None,
    requests: int | None,
    instances: int | None,
    seed: int,
    capacity: str | None,
    server: str | None,
    drop_invalid: bool,
) -> Instance:
    """Draw or read the instances that these options describe."""
    if not 0 <= seed < 2**32:
        raise ValueError(f"--seed is {seed}; expected an integer from 0 to 2^32 - 1")
    if (total := (requests or _DEFAULT_REQUESTS) * (instances or 1)) > _MAX_REQUESTS:
        raise ValueError(
            f"--requests times --instances is {total}; expected at most {_MAX_REQUESTS}, for the "
            "sake of memory: run several with other seeds"
        )
    key = jax.random.key(seed)
    if trace is None:
        if drop_invalid:
            raise ValueError("--drop-invalid is about rows of a --trace")
        return _drawn(workload or _DEFAULT_WORKLOAD, requests, instances, key, capacity, server)
    if workload is not None:
        raise ValueError("--workload and --trace exclude each other; give one of them")
    kv_capacity = tokens(capacity, server)
    if requests is None and instances is None:
        return traces.load(trace, kv_capacity, drop_invalid=drop_invalid)
    return traces.load(
        trace,
        kv_capacity,
        num_requests=_DEFAULT_REQUESTS if requests is None else requests,
        batch=1 if instances is None else instances,
        key=key,
        drop_invalid=drop_invalid,
    )


def _drawn(
    name: str,
    requests: int | None,
    instances: int | None,
    key: jax.Array,
    capacity: str | None,
    server: str | None,
) -> Instance:
    if name not in WORKLOADS:
        raise ValueError(f"no workload is called {name!r}; {hint(name, WORKLOADS)}")
    batch = DEFAULT_INSTANCES if instances is None else instances
    if name == "uniform":
        if requests is not None or capacity is not None:
            raise ValueError("workload 'uniform' draws its own --requests and --capacity")
        return workloads.uniform(key, batch=batch)
    num_requests = _DEFAULT_REQUESTS if requests is None else requests
    return WORKLOADS[name](key, num_requests, batch, tokens(capacity, server))


def picture_title(workload: str | None, trace: Path | None, server: str | None) -> str:
    """Say what these options describe, above a picture of it."""
    backlog = (
        f"workload {workload or _DEFAULT_WORKLOAD}" if trace is None else f"trace {trace.name}"
    )
    return backlog if server is None else f"{backlog}, server {server}"


def tokens(capacity: str | None, server: str | None = None) -> int:
    """Tokens of KV cache that ``--capacity`` stands for."""
    if capacity is None:
        return DEFAULT_CAPACITY
    if capacity == "server":
        if server is None:
            raise ValueError("--capacity server needs --server, to say which")
        _require_server(server)
        return PRESET_KV_CAPACITY[server]
    try:
        number = int(capacity)
    except ValueError:
        number = 0
    if number < 1:
        raise ValueError(f"--capacity is {capacity!r}; expected an integer >= 1, or 'server'")
    return number


def make_clock(server: str | None, deadline_s: float | None) -> LinearClock | None:
    """Find the clock of ``--server``."""
    if server is None:
        if deadline_s is not None:
            raise ValueError("--deadline-s needs --server, which says how long a round takes")
        return None
    _require_server(server)
    return PRESETS[server]


def _require_server(server: str) -> None:
    if server not in PRESETS:
        raise ValueError(f"no server is called {server!r}; {hint(server, PRESETS)}")


def policy_list(names: str) -> list[str]:
    """Split the names that ``--policies`` takes, each known and given once."""
    rules = [name.strip() for name in names.split(",") if name.strip()]
    for place, name in enumerate(rules):
        policies.make(name)  # or an error, before any work
        if name in rules[:place]:
            raise ValueError(f"--policies names {name!r} twice")
    return rules
