"""Memory of a process that meets many shapes: with the bound on kept programs, and without.

Every case is a process of its own. After a few shapes that load the library, each turn takes one
request more than the one before, so that nothing is compiled already.
"""

import multiprocessing
import os
import time
from pathlib import Path

import _common
import numpy as np
from rich.console import Console
from rich.table import Table

UNBOUNDED = 10**9
FIRST = 10


def resident_mib():
    """Memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def one_more(call, n):
    """Use a verb on an instance of n requests."""
    import jaxsched as js

    inst = js.Instance.from_lengths(np.full(n, 3), np.full(n, 2), kv_capacity=40)
    if call == "prioritize":
        js.prioritize(inst, "fcfs").block_until_ready()
    else:
        js.simulate(inst, np.arange(n))


def measured(call, num_shapes, most_kept, every):
    """Memory after every so many shapes, in this process: ``[(shapes, MiB, seconds)]``."""
    from jaxsched._lib import programs

    programs.MOST_KEPT = most_kept
    one_more(call, FIRST - 1)
    begin, rows = time.perf_counter(), [(0, resident_mib(), 0.0)]
    for turn in range(1, num_shapes + 1):
        one_more(call, FIRST + turn)
        if turn % every == 0:
            rows.append((turn, resident_mib(), time.perf_counter() - begin))
    return rows


def in_a_process(*case):
    """Measure in a process of its own, which has no compiled program of others."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measured, case)


def main():
    smoke = _common.parser(__doc__).parse_args().smoke
    from jaxsched._lib import programs

    bound, every = (10, 5) if smoke else (programs.MOST_KEPT, 20)
    few = 10 if smoke else 40  # programs that are large are bounded earlier, to measure fewer
    cases = [
        ("prioritize", 15 if smoke else 1000, bound),
        ("prioritize", 5 if smoke else 200, UNBOUNDED),  # each more takes as much
        ("simulate", 10 if smoke else 100, few),
        ("simulate", 5 if smoke else 40, UNBOUNDED),
    ]
    table, growth = [], []
    for call, num_shapes, most_kept in cases:
        rows = in_a_process(call, num_shapes, most_kept, every)
        case = {"call": call, "most_kept": None if most_kept == UNBOUNDED else most_kept}
        growth += [case | {"shapes": shapes, "mib": mib} for shapes, mib, _ in rows]
        mib = [row[1] for row in rows]
        table.append(
            case
            | {
                "shapes": num_shapes,
                "first_mib": mib[0],
                "last_mib": mib[-1],
                "most_mib": max(mib),
                "mib_a_shape": (mib[-1] - mib[0]) / num_shapes,
                "s_a_shape": rows[-1][2] / num_shapes,
            }
        )
    _common.write_results("many_shapes", table, 0, {"growth": growth}, first_requests=FIRST)
    shown = Table("verb", "programs kept", "shapes", "MiB at first", "MiB at most", "MiB a shape")
    for row in table:
        kept = row["most_kept"] or "all"
        numbers = row["shapes"], row["first_mib"], row["most_mib"], row["mib_a_shape"]
        shown.add_row(row["call"], str(kept), *(f"{number:.4g}" for number in numbers))
    Console().print(shown)


if __name__ == "__main__":
    main()
