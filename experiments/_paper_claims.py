"""Which claims hold, from the figures of `sorted_f_paper.py` and `worst_cases.py`."""

from __future__ import annotations

from collections.abc import Mapping

from _paper_measures import UNITS, Found

SIGNIFICANT = 0.05
NEAR = 0.1  # between exponents
UNIT_NAMES = {"rounds": "rounds", "s": "seconds", "engine_s": "seconds on the engine"}


def claims(cases: Mapping[str, Found], growth: list[Found], paper_factor: float) -> list[Found]:
    """Each claim that can be checked here, whether it holds, and on what evidence."""
    return [
        _constant_factor(growth, paper_factor),
        _lower_latency(cases, "sorted_f", "fcfs", paper_says="by up to 30%"),
        _lower_latency(cases, "sorted_f", "shortest_output", paper_says="by up to 30%"),
        _wins_everywhere(cases, "sorted_f"),
        _lower_latency(cases, "smallest_volume", "sorted_f"),
        _wins_everywhere(cases, "smallest_volume"),
    ]


def _constant_factor(growth: list[Found], paper_factor: float) -> Found:
    bounded = [row for row in growth if row["rule"] == "sorted_f"]
    worst = max(loss for row in bounded for loss in row["loss"])
    exponent = max(abs(row["exponent"]) for row in bounded)
    simple = [row for row in growth if row["rule"] == row["family"]]
    theirs = ", ".join(
        f"{row['rule']} {row['loss'][-1]:.0f} (exponent of M {row['exponent']:.2f})"
        for row in simple
    )
    return {
        "claim": f"sorted_f stays within a constant factor (paper: {paper_factor}) on the worst "
        "cases of simple rules, which lose like sqrt(M)",
        "holds": worst <= paper_factor
        and exponent < NEAR
        and all(abs(row["exponent"] - 0.5) < NEAR for row in simple),
        "evidence": f"its loss is at most {worst:.2f}, exponent of M at most {exponent:.3f}; "
        f"theirs at the largest M: {theirs}",
    }


def _lower_latency(
    cases: Mapping[str, Found], rule: str, baseline: str, paper_says: str = ""
) -> Found:
    """Whether ``rule`` is below ``baseline`` in every case, beyond chance where that is known."""
    evidence, holds = [], True
    for unit in UNITS:
        pairs = {
            name: found["paired_mean_latency"][unit][baseline][rule]
            for name, found in cases.items()
        }
        change = {name: pair["change"][0] for name, pair in pairs.items()}
        is_clear = {
            name: pair["p_value"] is None or pair["p_value"] < SIGNIFICANT
            for name, pair in pairs.items()
        }
        below = [name for name in change if change[name] < 0 and is_clear[name]]
        above = [name for name in change if change[name] > 0 and is_clear[name]]
        least, most = min(change, key=change.__getitem__), max(change, key=change.__getitem__)
        holds &= len(below) == len(change)
        evidence.append(
            f"in {UNIT_NAMES[unit]} lower in {len(below)} of {len(change)} "
            f"cases and higher in {len(above)} (the rest within chance), from "
            f"{change[least]:+.1%} ({least}) to {change[most]:+.1%} ({most}), by 30% or more in "
            f"{sum(value <= -0.3 for value in change.values())}"
        )
    return {
        "claim": f"{rule} has a lower mean latency than {baseline}"
        + (f" (paper: {paper_says})" if paper_says else ""),
        "holds": holds,
        "evidence": "; ".join(evidence),
    }


def _wins_everywhere(cases: Mapping[str, Found], rule: str) -> Found:
    evidence, holds = [], True
    for unit in UNITS:
        wins: dict[str, list[str]] = {}
        for name, found in cases.items():
            wins.setdefault(found["winner"][unit]["rule"], []).append(name)
        holds &= list(wins) == [rule]
        ranked = sorted(wins.items(), key=lambda item: -len(item[1]))
        shown = "; ".join(
            f"{winner} in {len(names)}" + (f" ({', '.join(names)})" if len(names) <= 4 else "")
            for winner, names in ranked
        )
        evidence.append(f"least in {UNIT_NAMES[unit]}: {shown}")
    return {
        "claim": f"{rule} has the least mean latency of all rules in every case",
        "holds": holds,
        "evidence": ". ".join(evidence),
    }
