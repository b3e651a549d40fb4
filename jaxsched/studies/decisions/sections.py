"""A decision in words, tables and pictures."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsched._lib.layout import Column, Layout
from jaxsched.metrics.traffic import PERCENTS
from jaxsched.policies.engines.vllm import vllm_arguments, vllm_flags
from jaxsched.show import plots
from jaxsched.show.page import Block, Code, Items, Page, Section, Text, picture
from jaxsched.show.tables import written
from jaxsched.studies.decisions.answer import (
    NAMES,
    choices_layout,
    header,
    number,
    number_of_seconds,
    setting_text,
    verdict,
)
from jaxsched.studies.decisions.candidates import SETTINGS
from jaxsched.studies.decisions.runs import overlap

if TYPE_CHECKING:
    from jaxsched.studies.decisions.decision import Choice, Decision

_SERVED = (  # at the rate taken now: header, metric, scale, style
    ("attainment", "attainment", 1, {"is_share": True}),
    ("TTFT\np99 (s)", "p99_ttft_s", 1, {"has_interval": False}),
    ("TPOT\np99 (ms)", "p99_tpot_s", 1000, {"has_interval": False}),
    ("E2E\np99 (s)", "p99_e2e_s", 1, {"has_interval": False}),
    ("evictions\na run", "num_preemptions", 1, {"has_interval": False}),
    ("KV peak", "peak_kv_share", 1, {"is_share": True, "has_interval": False}),
)


def page(decision: Decision, name: str, made_by: str) -> Page:
    """Put a decision on a page."""
    known = decision.known
    log = name or "this log"
    machine = "this server" if known is None else f"{known.model} on {known.hardware}"
    lead: list[Block] = [Text(sentence, is_lead=True) for sentence in [" ".join(verdict(decision))]]
    goal = decision.search
    return Page(
        title=f"What {machine} takes of {log}",
        subtitle=f"{100 * goal.goal.attainment:.6g}% of requests: {goal.targets_text}",
        lead=[*lead, choices_layout(decision), *_after_answer(decision)],
        sections=[
            Section("The traffic", _traffic(decision)),
            Section("Service over the rate", _load(decision)),
            Section("Every setting and order that was tried", _search(decision)),
            Section("Engine arguments", _arguments(decision)),
            Section("What no order can beat", _bounds(decision)),
            Section("What this leaves out", _limits(decision)),
        ],
        foot=made_by,
    )


def _after_answer(decision: Decision) -> list[Block]:
    both, erring = decision.choices["both"], decision.erring
    texts = []
    if both.rule != decision.choices["now"].rule and erring is not None:
        rate = erring.value[0, 0].item()
        factor = math.exp(decision.sigma)
        if rate == both.rate:
            texts.append(f"The order {both.rule} needs no predictions of output lengths.")
        else:
            texts.append(
                "Orders see output lengths as predicted, and predictions are exact here. With "
                f"predictions off by a factor of {factor:.1f}, {both.rule} takes {number(rate)}."
            )
    return [Text(" ".join(texts))] if texts else []


def _traffic(decision: Decision) -> list[Block]:
    found = decision.traffic
    facts = {
        "requests": (f"{found.num_requests:,}", ""),
        "hours": (number(found.duration_s / 3600), ""),
        "requests a second": (number(found.rate), ""),
        f"in the busiest {number_of_seconds(found.bin_s)}": (number(found.peak_rate), ""),
        "coefficient of variation of gaps": (number(found.gap_cv), "1"),
        **{
            f"dispersion of counts in {window} s": (number(value), "1")
            for window, value in found.dispersion.items()
        },
        "rank correlation of prompt and output": (f"{found.correlation:.2f}", ""),
    }
    measures = [
        Column("", list(facts)),
        Column("log", [of_log for of_log, _ in facts.values()]),
        Column("Poisson", [of_poisson for _, of_poisson in facts.values()]),
    ]
    rows = {"prompt": found.prompt_quantiles, "output": found.output_quantiles}
    means = (found.mean_prompt, found.mean_output)
    columns = [
        Column("tokens", list(rows)),
        Column("mean", [f"{mean:,.0f}" for mean in means]),
        *(
            Column(
                "most" if percent == 100 else f"{percent}%",
                [f"{of[k]:,.0f}" for of in rows.values()],
            )
            for k, percent in enumerate(PERCENTS)
        ),
    ]
    drawn = picture(
        lambda figure: plots.traffic(decision.reqs, figure=figure),
        "Requests a second over the time of the log, and shares of requests by length",
        height=4.6,
        narrow_height=4.6,
    )
    return [
        drawn,
        Layout("", columns, "Tokens that so many requests have at most."),
        Layout(
            "",
            measures,
            "Dispersion is the variance of counts over their mean. Arrivals in bursts have more "
            "than a Poisson process, where each is independent of the others.",
        ),
    ]


def _load(decision: Decision) -> list[Block]:
    load, now = decision.load, decision.choices["now"]
    rate = number(now.rate) if now.rate else "every rate tried"
    blocks: list[Block] = [
        Text(
            "Each line is an order. The settings are those of now unless the name says otherwise. "
            "Dashed lines are targets. The bands around attainment are 95% intervals over runs."
        ),
        picture(
            lambda figure: decision.plot(figure=figure),
            "Attainment, p99 of TTFT and p99 of TPOT over the rate, for each order",
            height=7.4,
            narrow_height=7.6,
        ),
    ]
    if not now.rate:
        return blocks
    blocks.append(
        Text(
            f"Attainment counts requests, so an order may leave a few to wait very long. At the "
            f"rate taken now, {rate} requests a second:"
        )
    )
    places = {name: curve.place_of(now.rate) for name, curve in load.items()}
    columns = [Column("order", list(load))]
    for title, metric, scale, style in _SERVED:
        if all(metric in curve.metrics for curve in load.values()):
            cells = [
                _written(scale * curve.metrics[metric][places[name]], style)
                for name, curve in load.items()
            ]
            columns.append(Column(title, cells))
    return [*blocks, Layout("", columns, "Means over runs; ± is half of a 95% interval.")]


def _written(values: np.ndarray, style: dict[str, Any]) -> str:
    from jaxsched.metrics.statistics import estimate_means

    return written(estimate_means(np.asarray(values, np.float64)), **style)


def _search(decision: Decision) -> list[Block]:
    plan = decision.search
    limits = [each.rate.item() for each in plan.limits or ()]
    order = sorted(
        range(len(limits)), key=lambda k: tuple(map(_sortable, plan.settings[k].values()))
    )
    columns = [
        Column(header(name), [str(plan.settings[k][name]) for k in order])
        for name in plan.settings[0]
    ]
    if not columns:
        columns = [Column("settings", ["as they are"])]
    columns += [
        Column(rule, [number(plan.value[r, k]) for k in order]) for r, rule in enumerate(plan.rules)
    ]
    columns.append(Column("limit", [number(limits[k]) for k in order]))
    best = int(plan.value[:, order].max(axis=0).argmax())
    return [
        Text(
            "Requests a second within the targets, on the runs to choose by. The limit is a rate "
            "that no order keeps up with."
        ),
        Layout(
            "",
            columns,
            "The best of many looks better than it is. So the answer above was "
            "measured again, on other runs.",
            best_row=best,
        ),
    ]


def _sortable(value: Any) -> tuple[bool, float, str]:
    """Numbers by size, then words."""
    return (True, 0.0, value) if isinstance(value, str) else (False, value, "")


def _arguments(decision: Decision) -> list[Block]:
    blocks: list[Block] = []
    now = decision.choices["now"]
    shown: set[tuple] = set()
    for name, choice in decision.choices.items():
        key = (choice.rule, setting_text(choice.setting))
        if key in shown or (name == "order" and name != decision.best):
            continue
        shown.add(key)
        note = ", recommended" if name == decision.best != "now" else ""
        blocks += [Text(f"{NAMES[name].capitalize()}, {choice.rule}{note}:"), _flags(choice)]
    both = decision.choices["both"]
    if both.rule != now.rule:
        blocks.append(
            Text(
                f"vLLM serves the lowest priority first. So whoever sends the requests gives each "
                f"the number by which {both.rule} orders it, in the field priority."
            )
        )
    blocks.append(
        Text(
            f"The KV cache is taken to hold {int(decision.server.kv_capacity):,} tokens. Compare "
            "that with the line on GPU KV cache size that vLLM prints when it starts."
        )
    )
    return blocks


def _flags(choice: Choice) -> Code | Text:
    policy = "fcfs" if choice.rule == "fcfs" else "priority"
    try:
        arguments = vllm_arguments(dataclasses.replace(choice.server, policy=policy))
    except ValueError as error:
        return Text(f"vLLM has no such server: {error}.")
    del arguments["num_gpu_blocks_override"]  # the engine measures its own memory
    return Code(" \\\n    ".join(["vllm serve MODEL", *vllm_flags(arguments)]))


def _bounds(decision: Decision) -> list[Block]:
    rows = {NAMES[name]: limits for name, limits in decision.limits.items()}
    rates = [choice.rate for choice in decision.choices.values()]
    columns = [
        Column("", list(rows)),
        Column("taken", [number(rate) for rate in rates]),
        Column("limit of\nmemory", [number(each.memory.item()) for each in rows.values()]),
        Column("limit of\nwork", [number(each.work.item()) for each in rows.values()]),
        Column("limit of\nboth", [number(each.rate.item()) for each in rows.values()]),
        Column(
            "taken\nof limit",
            [
                f"{rate / each.rate.item():.0%}" if math.isfinite(each.rate.item()) else "-"
                for rate, each in zip(rates, rows.values(), strict=True)
            ],
        ),
    ]
    blocks: list[Block] = [
        Text("Above these rates, queues grow for as long as requests come, whatever the order."),
        Layout("", columns, "Requests a second. Runs to check on."),
    ]
    now = decision.choices["now"]
    if math.isfinite(decision.least_latency_s):
        curve = decision.load[now.rule]
        mean = curve.metrics["mean_e2e_s"][curve.place_of(now.rate)].mean()
        blocks.append(
            Text(
                f"At {number(now.rate)} requests a second, {now.rule} takes {number(mean)} seconds "
                f"on average from arrival to last token. No order, even with foresight, takes less "
                f"than {number(decision.least_latency_s)}. This bound counts only the time that "
                "every step takes at least, so the truth lies well above it."
            )
        )
    return blocks


def _limits(decision: Decision) -> list[Block]:
    known = decision.known
    clock = "Step times come from a linear clock that you gave. Its error is not known here."
    if known is not None:
        clock = (
            f"Step times come from a fitted clock. Its mean error is {known.mean_error:.0%}, its "
            f"largest {known.max_error:.0%} ({known.source}). No running engine was measured."
        )
    elif decision.server.clock is None:
        clock = "The server has no clock: every step takes a second."
    items = [clock]
    if known is not None and all(
        getattr(decision.server, name) == getattr(known.server, name) for name in SETTINGS
    ):
        items.append(
            "The settings of now are the defaults of vLLM's classes. vllm serve chooses larger "
            "ones on large GPUs: its log says which."
        )
    times = overlap(decision.traffic.num_requests, decision.num_runs, decision.num_requests)
    runs = (
        f"Rates come from {decision.num_runs} runs to choose by and {decision.num_runs} to check "
        f"on, each of {decision.num_requests:,} requests in a row. Each is stretched to the rate, "
        "so its bursts stay. Slow changes of the log's rate do not."
    )
    if times > 1:
        runs += " Runs overlap, so intervals are too narrow: take a longer log."
    return [
        Items(
            [
                *items,
                runs,
                "A server starts empty, and runs end. So rates near the limit look better than "
                "they are; longer runs say more.",
                "Prefix caching is off, which is pessimistic where prompts share a beginning.",
                "Asynchronous scheduling and speculative decoding are off, and there is one model "
                "without adapters.",
                "Clients do not wait for answers, give up or try again.",
                "Several servers are counted, not simulated: there is no router.",
            ]
        )
    ]
