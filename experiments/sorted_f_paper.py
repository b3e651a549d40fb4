"""Re-run the comparison of Sorted-F (arXiv:2508.06133) and say which of its claims hold here.

Rules on the same backlogs: generated workloads, real summarization lengths, and every trace in the
data folder. They are measured in rounds, in the seconds that these rounds take, and in seconds on
the engine, whose steps have a budget of tokens. Without the folder only generated ones are run.

`sorted_f` chooses its batches by `multiplier_sweep`; other selectors are in brackets. `sorted_lp`
and `lp_swap` take their starts from the price bound, or in brackets from HiGHS. The gap is to the
larger of the price and the volume bound. A whole file is a single instance, with neither intervals
nor tests; elsewhere p-values are those of paired t-tests.
"""

from __future__ import annotations

import dataclasses
import time

import _common
import numpy as np
import worst_cases
from _paper_cases import FULL, SEED, SMOKE, Case, cases
from _paper_claims import claims
from _paper_engine import engine_metrics
from _paper_measures import measured, rows, winners
from _paper_picture import picture

import jaxsched as js


def main() -> None:
    arguments = _common.parser(__doc__).parse_args()
    sizes = SMOKE if arguments.smoke else FULL
    folder = _common.data_dir()
    if folder is None:
        print("no real lengths: set JAXSCHED_DATA to a folder of traces to have them compared")

    results = {}
    for case in cases(sizes, folder):
        begin = time.perf_counter()
        compared = _compared(case)
        results[case.name] = measured(compared) | {"server": case.server}
        seconds = time.perf_counter() - begin
        print(f"{case.name}: best in seconds is {compared.best} (took {seconds:.0f} s)", flush=True)

    growth = worst_cases.growth(worst_cases.CAPACITIES[: 2 if arguments.smoke else None])
    stated = claims(results, growth, worst_cases.PAPER_FACTOR)
    for claim in stated:
        print(f"\n{'HOLDS' if claim['holds'] else 'DOES NOT HOLD'}: {claim['claim']}")
        print(f"  {claim['evidence']}")

    parts = {"winners": winners(results), "claims": stated}
    path = _common.write_results("sorted_f_paper", rows(results), SEED, parts)
    n, _ = sizes.trace
    shown = {
        name: found
        for name, found in results.items()
        if found["requests"] == n and found["instances"] > 1
    }
    title = f"Mean latency in rounds over that of Sorted-F, {n} requests"
    picture(shown, title).savefig(path.with_suffix(".png"), dpi=150)


def _compared(case: Case) -> js.Comparison:
    """Order every backlog once by each rule, for the schedules in rounds and for the engine."""
    clock, bound = js.clock.PRESETS[case.server], case.bound(case.inst)
    orders = {name: np.asarray(js.prioritize(case.inst, rule)) for name, rule in case.rules.items()}
    schedules = {name: js.simulate(case.inst, order) for name, order in orders.items()}
    compared = js.compare(case.inst, schedules, bound=lambda _: bound, clock=clock)
    on_engine = engine_metrics(case.inst, orders, clock)
    metrics = {name: found | on_engine[name] for name, found in compared.metrics.items()}
    return dataclasses.replace(compared, metrics=metrics)


if __name__ == "__main__":
    main()
