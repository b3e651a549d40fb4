"""Policies by name."""

import pytest

from jaxsched.model.instance import Instance
from jaxsched.policies import (
    fcfs,
    info,
    make,
    names,
    prioritize,
    register,
    rule_name,
    shortest_output,
    smallest_volume,
)


def longest_output(inst):
    """Most output tokens first."""
    return -inst.output_tokens


def weighted(weight, *, offset=0):
    """Weighted prompt."""
    return lambda inst: weight * inst.prompt_tokens + offset


@pytest.fixture
def inst():
    return Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)


def test_a_name_or_an_alias_makes_the_rule_itself():
    assert make("fcfs") is fcfs
    assert make("mc_sf") is make("shortest_output") is shortest_output
    assert make("svf") is smallest_volume


@pytest.mark.parametrize(
    ("asked", "offered"),
    [
        ("smalest_volume", "smallest_volume"),
        ("FCFS", "fcfs"),
        ("mcsf", "mc_sf"),
        ("zzz", "known: fcfs"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(asked, offered):
    with pytest.raises(ValueError, match=f"no rule is called '{asked}'.*{offered}"):
        make(asked)


def test_a_plain_rule_takes_no_options():
    with pytest.raises(TypeError, match="rule 'fcfs' has no option 'theta'; it takes none"):
        make("fcfs", theta=3)


def test_a_registered_rule_is_found_by_name_and_alias(inst):
    register("longest_output", longest_output, aliases=["lo"])
    assert names()[-2:] == ("longest_output", "improve")  # which is an entry point
    assert make("lo") is longest_output
    assert prioritize(inst, "longest_output").tolist() == [-2, -4]


def test_a_factory_is_given_its_options(inst):
    register("weighted", factory=weighted)
    assert prioritize(inst, make("weighted", weight=2)).tolist() == [6, 2]
    assert prioritize(inst, make("weighted", weight=2, offset=1)).tolist() == [7, 3]


def test_a_factory_refuses_options_it_does_not_have():
    register("weighted", factory=weighted)
    with pytest.raises(
        TypeError, match="'weighted' has no option 'wait'; its options are weight, offset"
    ):
        make("weighted", wait=2)


def test_a_factory_says_which_option_it_needs():
    register("weighted", factory=weighted)
    with pytest.raises(TypeError, match="'weighted' needs the option 'weight'"):
        make("weighted")


def test_info_tells_aliases_options_and_summary():
    register("weighted", factory=weighted, aliases=["w"])
    assert info("w") == info("weighted")
    assert info("w").aliases == ("w",)
    assert info("w").options == ("weight", "offset")
    assert info("w").summary == "Weighted prompt."
    assert info("fcfs").options == ()


def test_a_taken_name_is_refused_and_changes_nothing():
    with pytest.raises(ValueError, match="'fcfs' is registered already"):
        register("fcfs", longest_output)
    with pytest.raises(ValueError, match="'svf' is registered already"):
        register("longest_output", longest_output, aliases=["svf"])
    assert "longest_output" not in names()
    assert make("fcfs") is fcfs


def test_replace_puts_a_new_rule_in_the_place_of_the_old():
    register("mine", longest_output, aliases=["my_own"])
    register("mine", shortest_output, replace=True)
    assert make("mine") is shortest_output
    with pytest.raises(ValueError, match="no rule is called 'my_own'"):
        make("my_own")


@pytest.mark.parametrize("given", [{}, {"rule": fcfs, "factory": weighted}])
def test_exactly_one_of_rule_and_factory(given):
    with pytest.raises(TypeError, match="give either a rule or a factory"):
        register("mine", **given)


def test_a_rule_must_be_callable():
    with pytest.raises(TypeError, match="42 cannot be called"):
        register("mine", 42)


def test_names_of_rules_in_tables():
    assert rule_name("svf") == "svf"
    assert rule_name(longest_output) == "longest_output"
