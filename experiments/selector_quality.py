"""Say how near each batch selector comes to the batch of least F.

The first batches of the uniform workload, and small backlogs of 3 to 12 uneven requests; F of
the selector's batch over F of the exact one.
"""

from __future__ import annotations

import _common
import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import jaxsched as js
from jaxsched.policies.selectors import (
    Selector,
    exact_dp,
    f_metric,
    greedy,
    local_swap,
    multiplier_sweep,
    scaled_dp,
)

SEED = 0
CAPACITY = 60  # the largest of any instance here
SELECTORS: dict[str, Selector] = {
    "multiplier_sweep": multiplier_sweep(),
    "local_swap": local_swap(),
    "greedy": greedy(),
    "scaled_dp(theta=4)": scaled_dp(theta=4, max_capacity=CAPACITY),
}
QUANTILES = (50, 90, 99, 100)


def uneven(count: int) -> js.Instance:
    """Draw backlogs of 3 to 12 requests, of five characters, where few fit together."""
    rng = np.random.default_rng(SEED)
    capacity = rng.integers(8, CAPACITY + 1, (count, 1))
    longest = np.array([(4, 60), (60, 4), (60, 60), (3, 3), (2, 60)])[np.arange(count) % 5]
    prompt = rng.integers(1, np.minimum(longest[:, :1], capacity - 1) + 1, (count, 12))
    output = rng.integers(1, np.minimum(longest[:, 1:], capacity - prompt) + 1)
    inst = js.Instance.from_lengths(prompt, output, kv_capacity=capacity[:, 0])
    return inst.replace(is_real=jnp.arange(12) < rng.integers(3, 13, (count, 1)))


def f_of_first_batch(selector: Selector, inst: js.Instance) -> np.ndarray:
    """F of the first batch of each instance, ``[B]``."""

    def one(inst: js.Instance) -> jax.Array:
        members = selector(inst)(inst.is_real, inst.kv_capacity)
        return f_metric(inst, members)

    return np.asarray(jax.jit(jax.vmap(one))(inst), np.float64)


def distribution(ratio: np.ndarray) -> dict[str, float]:
    """Mean, share of exact batches and upper percentiles of F over the least F."""
    found = {"mean": float(ratio.mean()), "share_exact": float(np.mean(ratio <= 1 + 1e-6))}
    percentiles = np.percentile(ratio, QUANTILES)
    return found | {f"p{at}": float(x) for at, x in zip(QUANTILES, percentiles, strict=True)}


def main() -> None:
    is_smoke = _common.parser(__doc__).parse_args().smoke
    count = 8 if is_smoke else 500
    backlogs = {
        "uniform": js.workloads.uniform(jax.random.key(SEED), batch=count),
        "uneven, n = 3..12": uneven(count),
    }
    table = Table(title=f"F over the least F, first batches of {count} backlogs")
    for column in ("backlogs", "selector", "mean", "exact", *(f"p{at}" for at in QUANTILES)):
        table.add_column(column, justify="right" if column not in ("backlogs",) else "left")
    rows: list[_common.Row] = []
    for name, inst in backlogs.items():
        least = f_of_first_batch(exact_dp(CAPACITY), inst)
        for label, selector in SELECTORS.items():
            row = distribution(f_of_first_batch(selector, inst) / least)
            rows.append({"backlogs": name, "selector": label} | row)
            figures = (f"{row[f'p{at}']:.3f}" for at in QUANTILES)
            mean, share = f"{row['mean']:.4f}", f"{row['share_exact']:.1%}"
            table.add_row(name, label, mean, share, *figures)
    Console(width=100).print(table)
    measure = "F of the selector's first batch over the least F"
    _common.write_results("selector_quality", rows, SEED, measure=measure, instances=count)


if __name__ == "__main__":
    main()
