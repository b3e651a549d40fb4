"""Rules that order a backlog: ready-made ones, a registry, and the mapping over instances."""

from jaxsched.policies._dynamic import DynamicRule, dynamic
from jaxsched.policies._prioritize import prioritize
from jaxsched.policies._rule import HostRule, Rule, host_rule, rule_name
from jaxsched.policies._rule_files import load, save, tuned_on
from jaxsched.policies._serve import serve
from jaxsched.policies.batches.geometric import geometric
from jaxsched.policies.batches.sorted_f import sorted_f
from jaxsched.policies.guided.lp_guided import lp_swap, receding_horizon, sorted_lp
from jaxsched.policies.guided.price_guided import price_guided
from jaxsched.policies.registry import PolicyInfo, info, make, names, register
from jaxsched.policies.scores.index import (
    fcfs,
    shortest_output,
    shortest_prompt,
    smallest_volume,
    total_size,
)
from jaxsched.policies.scores.linear_score import (
    LinearScore,
    aged_shortest_first,
    length_weighted,
    linear_score,
)
from jaxsched.policies.scores.mlp_score import MLPScore, mlp_score

register("fcfs", fcfs)
register("shortest_output", shortest_output, aliases=["mc_sf"])
register("shortest_prompt", shortest_prompt)
register("total_size", total_size)
register("smallest_volume", smallest_volume, aliases=["svf"])
register("sorted_f", factory=sorted_f)
register("geometric", geometric, aliases=["gba"])
register("receding_horizon", factory=receding_horizon)
register("sorted_lp", factory=sorted_lp)
register("lp_swap", factory=lp_swap)
register("price_guided", factory=price_guided)
register("linear_score", factory=linear_score)
register("mlp_score", factory=mlp_score)
register("aged_shortest_first", factory=aged_shortest_first)
register("length_weighted", factory=length_weighted)

__all__ = [
    "DynamicRule",
    "HostRule",
    "LinearScore",
    "MLPScore",
    "PolicyInfo",
    "Rule",
    "aged_shortest_first",
    "dynamic",
    "fcfs",
    "geometric",
    "host_rule",
    "info",
    "length_weighted",
    "linear_score",
    "load",
    "lp_swap",
    "make",
    "mlp_score",
    "names",
    "price_guided",
    "prioritize",
    "receding_horizon",
    "register",
    "rule_name",
    "save",
    "serve",
    "shortest_output",
    "shortest_prompt",
    "smallest_volume",
    "sorted_f",
    "sorted_lp",
    "total_size",
    "tuned_on",
]
