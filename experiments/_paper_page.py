"""The page and the picture of `sorted_f_paper.py`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from _paper_claims import SIGNIFICANT, UNIT_NAMES
from _paper_measures import UNITS, Found
from matplotlib.axes import Axes
from matplotlib.figure import Figure

REFERENCE = "sorted_f"
SHOWN_BASELINES = ("shortest_output", "sorted_f")
NEAR = (0.85, 1.3)  # range of the picture's second panel
# Okabe and Ito's colours and a grey; markers tell the rules apart without them.
STYLES = {
    "fcfs": ("#000000", "v"),
    "shortest_output": ("#E69F00", "<"),
    "shortest_prompt": ("#999999", ">"),
    "total_size": ("#56B4E9", "D"),
    "smallest_volume": ("#009E73", "^"),
    "geometric": ("#F0E442", "P"),
    "sorted_f[local_swap]": ("#0072B2", "x"),
    "sorted_lp": ("#D55E00", "+"),
    "receding_horizon": ("#CC79A7", "o"),
}


def page(cases: Mapping[str, Found], claims: list[Found], intro: str) -> str:
    """Markdown: the claims, mean latencies side by side, and each case in full."""
    lines = ["# Sorted-F and its relatives", "", intro, "", "## Claims", ""]
    for claim in claims:
        verdict = "Holds" if claim["holds"] else "Does not hold"
        lines.append(f"- **{verdict}**: {claim['claim']}. Here: {claim['evidence']}.")
    for unit in UNITS:
        lines += ["", f"## Mean latency in {UNIT_NAMES[unit]} against `{REFERENCE}`", ""]
        lines += _table(_side_by_side(cases, unit))
        lines += ["", "Means of paired changes; the winner of each row is bold, with a * where"]
        lines += [f"its lead over the runner-up is within chance (p >= {SIGNIFICANT})."]
    for name, found in cases.items():
        lines += ["", f"## {name}", "", _setting(found), "", *_table(_in_full(found))]
    return "\n".join(lines) + "\n"


def picture(cases: Mapping[str, Found], title: str) -> Figure:
    """Mean latency of each rule over that of Sorted-F, and the same once more near 1."""
    figure = Figure(figsize=(11, 1.8 + 0.55 * len(cases)), layout="constrained")
    wide, near = figure.subplots(1, 2, sharey=True)
    for panel in (wide, near):
        _draw_ratios(panel, cases)
        panel.axvline(1, color="grey", linewidth=1)
        panel.spines[["top", "right"]].set_visible(False)
    wide.set_xscale("log")
    ticks = [1, 2, 5, 10]
    wide.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
    wide.set_xticks([], minor=True)
    near.set_xlim(*NEAR)
    wide.set_yticks(range(len(cases)), list(cases))
    wide.invert_yaxis()
    wide.set_title("all of these", fontsize="medium")
    near.set_title("near Sorted-F, 95% intervals", fontsize="medium")
    handles, labels = wide.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    figure.suptitle(title, fontsize="medium")
    return figure


def _draw_ratios(panel: Axes, cases: Mapping[str, Found]) -> None:
    for number, (rule, (colour, marker)) in enumerate(STYLES.items()):
        offset = 0.05 * (number - len(STYLES) // 2)
        changes, half_widths = zip(
            *(_pairs(found, "rounds")[rule]["change"] for found in cases.values()), strict=True
        )
        panel.errorbar(
            [1 + change for change in changes],
            [row + offset for row in range(len(cases))],
            xerr=half_widths,
            fmt=marker,
            color=colour,
            markeredgecolor=colour if marker in "x+" else "black",
            markeredgewidth=1.5 if marker in "x+" else 0.5,
            linewidth=1,
            label=rule,
        )


def _pairs(found: Found, unit: str) -> dict[str, Any]:
    return found["paired_mean_latency"][unit][REFERENCE]


def _side_by_side(cases: Mapping[str, Found], unit: str) -> Iterator[list[str]]:
    rules = list(dict.fromkeys(rule for found in cases.values() for rule in found["rules"]))
    yield ["case", *rules]
    for name, found in cases.items():
        pairs, winner = _pairs(found, unit), found["winner"][unit]
        row = [name]
        for rule in rules:
            if rule == REFERENCE:
                cell = "0"
            else:
                cell = f"{pairs[rule]['change'][0]:+.1%}" if rule in pairs else ""
            if rule == winner["rule"]:
                is_clear = winner["p_value"] is None or winner["p_value"] < SIGNIFICANT
                cell = f"**{cell}**" + ("" if is_clear else "\\*")
            row.append(cell)
        yield row


def _setting(found: Found) -> str:
    capacity = " to ".join(f"{tokens:,}" for tokens in found["kv_capacity"])
    return (
        f"{found['instances']} instances of {found['requests']:,} requests, {capacity} KV tokens, "
        f"clock `{found['server']}`; mean latency with its 95% interval, changes with p (t-test)."
    )


def _in_full(found: Found) -> Iterator[list[str]]:
    header = ["rule"]
    for unit in UNITS:
        header.append(f"mean ({UNIT_NAMES[unit]})")
        header += [f"vs {baseline}" for baseline in SHOWN_BASELINES]
        header += ["above bound"] if unit == "rounds" else []
        header += ["p99", "makespan"]
    yield header
    for rule, metrics in found["rules"].items():
        row = [rule]
        for unit in UNITS:
            row.append(_with_interval(metrics[f"mean_latency_{unit}"]))
            for baseline in SHOWN_BASELINES:
                row.append(_change(found["paired_mean_latency"][unit][baseline].get(rule)))
            row += [f"{metrics['gap'][0]:.1%}"] if unit == "rounds" else []
            row += [f"{metrics[f'{name}_{unit}'][0]:,.0f}" for name in ("p99_latency", "makespan")]
        yield row


def _with_interval(estimate: list[float | None]) -> str:
    mean, half_width = estimate
    return f"{mean:,.1f}" if half_width is None else f"{mean:,.1f} ± {half_width:,.1f}"


def _change(pair: Found | None) -> str:
    if pair is None:
        return ""
    p_value = pair["p_value"]
    return f"{pair['change'][0]:+.1%}" + ("" if p_value is None else f" (p {p_value:.1g})")


def _table(rows: Iterator[list[str]]) -> list[str]:
    header, *body = rows
    rule = ["---", *["---:"] * (len(header) - 1)]
    return ["| " + " | ".join(row) + " |" for row in (header, rule, *body)]
