"""Rules that order a backlog: ready-made ones, a registry, and the mapping over instances."""

from jaxsched.policies._prioritize import prioritize
from jaxsched.policies._rule import HostRule, Rule, host_rule, rule_name
from jaxsched.policies.index import (
    fcfs,
    shortest_output,
    shortest_prompt,
    smallest_volume,
    total_size,
)
from jaxsched.policies.registry import PolicyInfo, info, make, names, register

register("fcfs", fcfs)
register("shortest_output", shortest_output, aliases=["mc_sf"])
register("shortest_prompt", shortest_prompt)
register("total_size", total_size)
register("smallest_volume", smallest_volume, aliases=["svf"])

__all__ = [
    "HostRule",
    "PolicyInfo",
    "Rule",
    "fcfs",
    "host_rule",
    "info",
    "make",
    "names",
    "prioritize",
    "register",
    "rule_name",
    "shortest_output",
    "shortest_prompt",
    "smallest_volume",
    "total_size",
]
