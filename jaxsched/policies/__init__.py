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
from jaxsched.policies.online.ageing import aged_priority, aged_prompt, aged_size, fading_prompt
from jaxsched.policies.online.boost import gamma_boost, uniboost
from jaxsched.policies.online.deadlines import earliest_deadline, least_slack
from jaxsched.policies.online.fair_share import least_attained_service, virtual_token_counter
from jaxsched.policies.online.feedback import geometric_slicing, skip_join_mlfq
from jaxsched.policies.online.intervals import a_max, a_min
from jaxsched.policies.online.ratios import highest_response_ratio, token_response_ratio
from jaxsched.policies.online.remaining import shortest_remaining
from jaxsched.policies.registry import PolicyInfo, info, make, names, register
from jaxsched.policies.scores.index import (
    fcfs,
    shortest_output,
    shortest_prompt,
    smallest_volume,
    total_size,
    weighted_volume,
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
register("weighted_volume", weighted_volume, aliases=["smith"])
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
register("aged_prompt", factory=aged_prompt)
register("aged_priority", factory=aged_priority)
register("aged_size", factory=aged_size)
register("fading_prompt", factory=fading_prompt)
register("highest_response_ratio", factory=highest_response_ratio, aliases=["hrrn"])
register("token_response_ratio", factory=token_response_ratio)
register("gamma_boost", factory=gamma_boost)
register("uniboost", factory=uniboost)
register("earliest_deadline", earliest_deadline, aliases=["edf"])
register("least_slack", factory=least_slack)
register("shortest_remaining", factory=shortest_remaining, aliases=["trail"])
register("a_max", a_max)
register("a_min", factory=a_min)
register("skip_join_mlfq", factory=skip_join_mlfq, aliases=["mlfq"])
register("geometric_slicing", factory=geometric_slicing, aliases=["gsa"])
register("virtual_token_counter", factory=virtual_token_counter, aliases=["vtc"])
register("least_attained_service", factory=least_attained_service, aliases=["las"])

__all__ = [
    "DynamicRule",
    "HostRule",
    "LinearScore",
    "MLPScore",
    "PolicyInfo",
    "Rule",
    "a_max",
    "a_min",
    "aged_priority",
    "aged_prompt",
    "aged_shortest_first",
    "aged_size",
    "dynamic",
    "earliest_deadline",
    "fading_prompt",
    "fcfs",
    "gamma_boost",
    "geometric",
    "geometric_slicing",
    "highest_response_ratio",
    "host_rule",
    "info",
    "least_attained_service",
    "least_slack",
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
    "shortest_remaining",
    "skip_join_mlfq",
    "smallest_volume",
    "sorted_f",
    "sorted_lp",
    "token_response_ratio",
    "total_size",
    "tuned_on",
    "uniboost",
    "virtual_token_counter",
    "weighted_volume",
]
