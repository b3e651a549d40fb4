"""The conformance test catches what it says it catches."""

import gc

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsched.policies import host_rule, rule_name
from jaxsched.policies.testing import check_policy

pytestmark = pytest.mark.jax_defaults  # it runs users' rules


def my_rule(inst):
    return inst.output_tokens * (inst.prompt_tokens + 0.5 * inst.output_tokens)


@chex.dataclass(frozen=True)
class TiltedVolume:
    weight: jax.Array

    def __call__(self, inst):
        return jnp.log(inst.volume) + self.weight * jnp.log(inst.prompt_tokens)


@pytest.mark.parametrize(
    "rule",
    ["shortest_output", "shortest_prompt", "total_size", "smallest_volume", my_rule],
    ids=rule_name,
)
def test_sound_rules_pass(rule):
    check_policy(rule)


def test_a_parametric_rule_passes():
    check_policy(TiltedVolume(weight=jnp.float32(0.3)))


def test_a_host_rule_passes():
    check_policy(host_rule(lambda inst: inst.output_tokens.astype(np.int64) ** 2))


def test_a_host_rule_that_counts_tokens_can_be_spared_huge_lengths():
    @host_rule
    def one_cell_a_token(inst):
        assert inst.kv_capacity <= 64
        return [len(range(tokens)) for tokens in inst.output_tokens]

    check_policy(one_cell_a_token, max_tokens=64)
    with pytest.raises(AssertionError, match="'one_cell_a_token' fails on huge lengths"):
        check_policy(one_cell_a_token)


def test_a_rule_may_use_the_order_of_rows_if_it_says_so():
    check_policy("fcfs", uses_row_order=True)
    with pytest.raises(
        AssertionError, match="'fcfs' orders requests differently when the rows are"
    ):
        check_policy("fcfs")


@pytest.fixture
def _few_objects():
    """Hide what is there already: jax looks through all objects for who holds a leaked tracer."""
    gc.freeze()
    yield
    gc.unfreeze()


kept = []


def leaky(inst):
    kept.append(inst.volume)
    return inst.volume


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        (lambda inst: inst.volume[:-1], r"expected \[6\], one priority for each request"),
        (lambda inst: inst.volume > 3, "expected integers or floats"),
        (lambda inst: np.log(inst.volume), "host_rule"),
        (lambda inst: 1 / 0, "fails on ordinary lengths: ZeroDivisionError"),
        (lambda inst: (inst.volume - 2) / (inst.volume - 2), "gives NaN on one request"),
        (lambda inst: inst.volume % inst.volume.std(), "gives NaN on one request"),
        (lambda inst: np.random.default_rng().random(inst.volume.shape), "then .* same instance"),
        (
            host_rule(lambda inst: np.random.default_rng().random(6)[: len(inst.is_real)]),
            "then .* sa",
        ),
        (lambda inst: inst.volume * (inst.volume.size - 7), "when padding follows them"),
        (leaky, "keeps hold of a traced array"),
    ],
)
@pytest.mark.usefixtures("_few_objects")
def test_broken_rules_are_told_what_they_broke(rule, complaint):
    with pytest.raises(AssertionError, match=complaint):
        check_policy(rule)


def test_a_rule_that_mixes_up_mapped_instances_is_caught():
    def by_circumstance(inst):
        is_mapped = type(inst.volume).__name__ == "BatchTracer"
        return -inst.volume if is_mapped else inst.volume

    with pytest.raises(AssertionError, match="orders requests differently when"):
        check_policy(by_circumstance)


def test_a_rule_that_differs_under_jit_is_caught():
    def by_circumstance(inst):
        is_traced = isinstance(inst.volume, jax.core.Tracer)
        return -inst.volume if is_traced else inst.volume

    with pytest.raises(AssertionError, match="orders requests differently under jit"):
        check_policy(by_circumstance)
