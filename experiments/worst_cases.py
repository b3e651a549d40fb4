"""How much a rule can lose: its worst cases as the KV capacity M grows.

Each of three simple rules meets the instances built against it, two classes of equal requests of
which it serves the wrong one first; Sorted-F and smallest volume meet all three families. The loss
is TEL over the TEL of serving the other class first, and its growth the slope of a least-squares
line through loss and M on logarithmic axes: 1/2 is growth like sqrt(M), 0 a bounded loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import _common
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

import jaxsched as js
from jaxsched.policies.batches.sorted_f import sorted_f

SEED = 0  # for the manifest; nothing here is random
CAPACITIES = tuple(4**power for power in range(3, 8))  # 64 to 16,384; their roots are whole
SIMPLE = ("shortest_output", "fcfs", "total_size")  # each with a family against it
BOUNDED = ("sorted_f", "smallest_volume")
PAPER_FACTOR = 48  # Sorted-F with exact batches is never further from the optimum


def other_class_first(inst: js.Instance) -> jax.Array:
    """Serve from the back; each simple rule serves its family from the front."""
    return -jnp.arange(inst.output_tokens.shape[-1])


def losses(capacities: Sequence[int]) -> dict[str, dict[str, np.ndarray]]:
    """``losses[family][rule]``, one loss for each capacity."""
    inst = js.stack([js.workloads.worst_case(rule, m) for rule in SIMPLE for m in capacities])
    rules = {"sorted_f": sorted_f(), "other_class_first": other_class_first}
    rules |= {name: name for name in (*SIMPLE, "smallest_volume")}
    metrics = js.compare(inst, rules, bound=None).metrics
    latency = {
        rule: found["total_latency_rounds"].reshape(len(SIMPLE), len(capacities))
        for rule, found in metrics.items()
    }
    return {
        family: {
            rule: latency[rule][row] / latency["other_class_first"][row]
            for rule in (family, *BOUNDED)
        }
        for row, family in enumerate(SIMPLE)
    }


def growth_exponent(capacities: Sequence[int], loss: np.ndarray) -> float:
    """Slope of log loss over log capacity."""
    return float(np.polyfit(np.log(capacities), np.log(loss), 1)[0])


def growth(capacities: Sequence[int] = CAPACITIES) -> list[dict[str, Any]]:
    """One record for each family and rule: the losses and how they grow."""
    return [
        {
            "family": family,
            "rule": rule,
            "loss": [round(float(value), 4) for value in loss],
            "exponent": round(growth_exponent(capacities, loss), 4),
            "exponent_at_largest": round(growth_exponent(capacities[-2:], loss[-2:]), 4),
        }
        for family, by_rule in losses(capacities).items()
        for rule, loss in by_rule.items()
    ]


def table(rows: Sequence[dict[str, Any]], capacities: Sequence[int]) -> Table:
    shown = Table(title="TEL over that of the other class first, by capacity M")
    shown.add_column("family against", no_wrap=True)
    shown.add_column("rule", no_wrap=True)
    for header in (*(f"{capacity:,}" for capacity in capacities), "exponent", "of last two"):
        shown.add_column(header, justify="right")
    for row in rows:
        losses = [f"{loss:.2f}" for loss in row["loss"]]
        exponents = [f"{row[name]:.3f}" for name in ("exponent", "exponent_at_largest")]
        shown.add_row(row["family"], row["rule"], *losses, *exponents)
    return shown


def picture(rows: Sequence[dict[str, Any]], capacities: Sequence[int]) -> Figure:
    """One panel a family, loss over capacity."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    panels = figure.subplots(1, len(SIMPLE), sharey=True)
    for panel, family in zip(panels, SIMPLE, strict=True):
        ratios = {
            f"{row['rule']} ({row['exponent']:+.2f})": row["loss"]
            for row in rows
            if row["family"] == family
        }
        title = f"built against {family} (exponent of M)"
        label = "TEL / TEL of the other class first, lower is better" if panel is panels[0] else ""
        js.plots.ratio(capacities, ratios, label=label, title=title, ax=panel)
    return figure


def main() -> None:
    arguments = _common.parser(__doc__).parse_args()
    capacities = CAPACITIES[:2] if arguments.smoke else CAPACITIES
    rows = growth(capacities)
    Console(width=110).print(table(rows, capacities))
    losses = [
        {"family": row["family"], "rule": row["rule"], "kv_capacity": capacity, "loss": loss}
        for row in rows
        for capacity, loss in zip(capacities, row["loss"], strict=True)
    ]
    names = ("family", "rule", "exponent", "exponent_at_largest")
    exponents = [{name: row[name] for name in names} for row in rows]
    path = _common.write_results("worst_cases", losses, SEED, {"exponents": exponents})
    picture(rows, capacities).savefig(path.with_suffix(".png"), dpi=150)


if __name__ == "__main__":
    main()
