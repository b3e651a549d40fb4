"""The command ``serve``."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import jaxsched as js
from jaxsched.cli import _names as names
from jaxsched.cli import _options as options
from jaxsched.cli._backlog import all_workloads, kv_tokens, named, policy_list
from jaxsched.cli._output import console_beside, require_targets, save_csv, save_json, save_plot
from jaxsched.cli._tuned import warn_of_other_backlogs

if TYPE_CHECKING:
    from rich.console import Console

_DEFAULT_STREAMS = 16
_LEAST = 1e-9  # requests a second, or seconds: less is a slip, and sums of it are inexact
ANY_CAPACITY = 2**31 - 1  # a request of any length arrives; the server refuses what cannot fit


@dataclasses.dataclass(frozen=True)
class Streams(options.Backlog):
    """Which requests arrive when."""

    batch: Annotated[
        int | None, options.backlog("--streams", "Streams (16; of a trace, 1 or N samples).", "N")
    ] = None
    kv_capacity: Annotated[
        str | None,
        options.backlog("--capacity", "KV tokens (those of --vllm, or of --server).", "N|server"),
    ] = None
    rate: Annotated[
        float | None,
        options.backlog("--rate", "Requests a second (those of the trace).", "R"),
    ] = None
    sort: Annotated[bool, options.backlog("--sort", "Order rows of a trace by arrival.", "")] = (
        False
    )
    sigma: Annotated[
        float | None,
        options.backlog("--sigma", "Error of predicted outputs, log-normal (0).", "X"),
    ] = None
    batch_flag = "--streams"
    needs_rate = True

    def __post_init__(self) -> None:
        """Refuse what can be refused before anything is loaded."""
        super().__post_init__()
        _above_0("--rate", self.rate, "requests a second")
        if self.sigma is not None and not 0 <= self.sigma < math.inf:
            raise ValueError(f"--sigma is {self.sigma:g}; expected a finite number >= 0")
        if self.needs_rate and self.trace is None and self.rate is None:
            raise ValueError(
                "--rate is missing; without a --trace, say how many requests arrive a second"
            )
        if self.trace is None and self.sort:
            raise ValueError("--sort is about rows of a --trace")


@dataclasses.dataclass(frozen=True)
class Targets:
    """What counts as good service."""

    ttft_slo_s: Annotated[
        float | None,
        options.rules("--ttft-slo-s", "Target for the time to first token.", "SECONDS"),
    ] = None
    tpot_slo_s: Annotated[
        float | None,
        options.rules("--tpot-slo-s", "Target for the time per output token.", "SECONDS"),
    ] = None
    e2e_slo_s: Annotated[
        float | None,
        options.rules("--e2e-slo-s", "Target for the time to the last token.", "SECONDS"),
    ] = None

    def __post_init__(self) -> None:
        """Refuse what can be refused before anything is loaded."""
        for name, seconds in Targets.seconds(self).items():
            _above_0(f"--{name.replace('_', '-')}", seconds, "seconds")

    def seconds(self) -> dict[str, Any]:
        """Give them as the library's functions take them."""
        names = ("ttft_slo_s", "tpot_slo_s", "e2e_slo_s")
        return {name: getattr(self, name) for name in names}


@dataclasses.dataclass(frozen=True)
class _TargetsOfSome(Targets):
    """The same, of those who arrive in a window."""

    window: Annotated[
        str | None,
        options.rules("--window", "Measure those who arrive between two seconds.", "T0,T1"),
    ] = None

    def __post_init__(self) -> None:
        """Refuse what can be refused before anything is loaded."""
        super().__post_init__()
        self.seconds()

    def seconds(self) -> dict[str, Any]:
        """Give them as the library's functions take them."""
        return {
            **super().seconds(),
            "window": None if self.window is None else _window(self.window),
        }


@dataclasses.dataclass(frozen=True)
class NamedServer:
    """The server: a clock and memory by name, and a file of vLLM's settings."""

    server: Annotated[
        str,
        options.server(
            *("--server", "Its name, or FILE.json.", "NAME"),
            complete=names.one_of(*names.SERVERS),
        ),
    ]
    vllm: Annotated[Path | None, options.server("--vllm", "vLLM's arguments, as JSON.", "FILE")] = (
        None
    )


@dataclasses.dataclass(frozen=True)
class Machine(NamedServer):
    """A server with settings of its own."""

    max_num_seqs: Annotated[
        int | None, options.server("--max-num-seqs", "Most requests that run at once.", "N")
    ] = None
    max_num_batched_tokens: Annotated[
        int | None,
        options.server("--max-num-batched-tokens", "Most tokens computed in a step.", "N"),
    ] = None


def serve(
    context: typer.Context,
    machine: Machine,
    streams: Streams,
    targets: _TargetsOfSome,
    policy_names: Annotated[
        str | None,
        options.rules(
            *("--policies", "Rules or file:RULE (fcfs,smallest_volume).", "A,B"),
            complete=names.rules,
        ),
    ] = None,
    json_target: options.Json = None,
    csv_path: options.Csv = None,
    plot_path: Annotated[
        Path | None,
        options.output("--plot", "Picture of latencies; of one stream, of time.", "FILE"),
    ] = None,
) -> None:
    """Serve requests as vLLM's scheduler does: latencies, goodput, evictions."""
    console = console_beside(json_target, csv_path, plot_path)
    require_targets(json=json_target, csv=csv_path, plot=plot_path)
    server = make_server(machine, streams.kv_capacity)
    rules = [server.policy, "smallest_volume"]
    if policy_names is not None:
        rules = policy_list(policy_names)
    if not rules:
        raise ValueError("--policies names none; expected some, with commas between")
    reqs = make_requests(streams)
    warn_of_other_backlogs(rules, streams, reqs.as_backlog(ANY_CAPACITY), is_capacity_fixed=False)
    report = js.compare(reqs, rules, rules[0], server=server, **targets.seconds())
    say_memory(server, console)
    say_errors(streams, console)
    console.print(report)
    for sentence in report.sentences():
        console.print(sentence)
    if plot_path is not None:
        title = streams.title(machine.server)
        save_plot(plot_path, lambda: report.plot(title=title)["ttft"], console)
    if csv_path is not None:
        save_csv(csv_path, report.records(), console)
    if json_target is not None:
        save_json(json_target, context.obj, streams.seed, report.to_dict(), console)


def make_server(machine: NamedServer, capacity: str | None) -> js.Server:
    """Make the server that the options describe, every number of it checked."""
    from jaxsched.model.server import require_numbers
    from jaxsched.model.vllm_settings import read_settings, server_fields

    server = js.servers.get(machine.server)
    if machine.vllm is None:
        server = dataclasses.replace(server, kv_capacity=kv_tokens(capacity, machine.server))
    else:
        try:
            kv_capacity = None
            if capacity is not None or "kv_capacity" not in server_fields(
                read_settings(machine.vllm)
            ):
                kv_capacity = kv_tokens(capacity, machine.server)
            server = js.Server.from_vllm(machine.vllm, clock=server.clock, kv_capacity=kv_capacity)
        except ValueError as error:
            where = "" if str(machine.vllm) in str(error) else f"{machine.vllm}: "
            raise ValueError(f"{where}{error}") from error
    given = {
        name: value
        for name in ("max_num_seqs", "max_num_batched_tokens")
        if (value := getattr(machine, name, None)) is not None
    }
    return require_numbers(dataclasses.replace(server, **given))


def make_requests(streams: Streams) -> js.Requests:
    """Read or draw the requests that the options describe, and predict their outputs."""
    import jax

    key = jax.random.key(streams.seed)
    reqs = _arrived(streams, key)
    if streams.sigma is None:
        return reqs
    return js.workloads.predict(reqs, jax.random.fold_in(key, 2), sigma=streams.sigma)


def _arrived(streams: Streams, key: Any) -> js.Requests:
    """Read or draw who comes when, with what lengths."""
    import jax

    from jaxsched.workloads.traces import has_arrival_times

    if streams.trace is None:
        name = streams.workload or options.DEFAULT_WORKLOAD
        draw = named("workload", name, all_workloads())
        sizes = {
            "num_requests": streams.num_requests or options.DEFAULT_REQUESTS,
            "batch": streams.batch or _DEFAULT_STREAMS,
        }
        if name != "uniform":
            sizes["kv_capacity"] = ANY_CAPACITY
        return js.workloads.poisson(jax.random.fold_in(key, 1), draw(key, **sizes), streams.rate)
    has_times = has_arrival_times(streams.trace, streams.columns)
    if streams.rate is None and not has_times:
        raise ValueError(
            f"{streams.trace}: has no arrival times; give --rate R for arrivals at random"
        )
    num_requests = streams.num_requests
    if num_requests is None and streams.batch is not None:
        num_requests = options.DEFAULT_REQUESTS
    return js.traces.load_requests(
        streams.trace,
        rate=streams.rate,
        num_requests=num_requests,
        batch=streams.batch,
        key=key if num_requests is not None or not has_times else None,
        sort=streams.sort,
        drop_invalid=streams.drop_invalid,
        **streams.rows,
    )


def say_errors(streams: Streams, console: Console) -> None:
    """Say how far predictions are off, if they are."""
    if streams.sigma is not None:
        error = f"predictions are off by a log-normal factor, --sigma {streams.sigma:g}"
        console.print(f"{error} --seed {streams.seed}", soft_wrap=True)


def say_memory(server: js.Server, console: Console) -> None:
    memory = f"KV capacity {server.kv_capacity:,} tokens in blocks of {server.block_size}"
    console.print(f"{memory}; --capacity N sets another", soft_wrap=True)


def _above_0(flag: str, value: float | None, unit: str) -> None:
    if value is not None and not (_LEAST <= value < math.inf):
        raise ValueError(f"{flag} is {value:g}; expected a finite number of {unit} >= {_LEAST:g}")


def _window(text: str) -> tuple[float, float]:
    """Read ``10,60``."""
    try:
        begin, end = map(float, text.split(","))
    except ValueError:
        begin = end = math.nan
    if not begin < end:
        raise ValueError(f"--window is {text!r}; expected two seconds T0,T1 with T0 < T1")
    return begin, end
