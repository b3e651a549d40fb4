"""One-instance rules mapped over instances: pure, parametric and host rules."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsched.model.instance import Instance
from jaxsched.model.stack import stack
from jaxsched.policies import host_rule, prioritize, rule_name


@pytest.fixture
def one():
    return Instance.from_lengths([3, 1, 2], [2, 4, 1], kv_capacity=8)


@pytest.fixture
def batch():
    return Instance.from_lengths([[3, 1, 2], [5, 5, 1]], [[2, 4, 1], [1, 2, 3]], kv_capacity=[8, 9])


@chex.dataclass(frozen=True)
class TiltedVolume:
    weight: jax.Array

    def __call__(self, inst):
        prompt = inst.prompt_tokens.astype(jnp.float32)
        return jnp.log(inst.volume) + self.weight * jnp.log(prompt)


def counted(rule):
    """``rule``, and a list that grows by one whenever it is traced."""
    traces = []

    def counting(inst):
        traces.append(1)
        return rule(inst)

    return counting, traces


def test_the_old_order_of_arguments_works_with_a_warning(batch):
    expected = prioritize(batch, "smallest_volume").tolist()
    for rule in ("smallest_volume", lambda inst: inst.volume.astype(jnp.int32)):
        with pytest.warns(DeprecationWarning, match=r"write prioritize\(inst, rule\)"):
            assert prioritize(rule, batch).tolist() == expected
    assert prioritize(rule="smallest_volume", inst=batch).tolist() == expected


class TestPureRules:
    def test_maps_over_every_leading_axis(self, batch):
        deep = stack([batch, batch, batch])
        priority = prioritize(deep, lambda inst: inst.output_tokens)
        assert priority.tolist() == deep.output_tokens.tolist()

    def test_the_rule_sees_one_instance(self, batch):
        shapes = []

        def rule(inst):
            shapes.append((inst.prompt_tokens.shape, inst.kv_capacity.shape))
            return inst.prompt_tokens - inst.kv_capacity

        assert prioritize(batch, rule).tolist() == [[-5, -7, -6], [-4, -4, -8]]
        assert set(shapes) == {((3,), ())}

    def test_a_priority_that_ignores_the_instance_is_repeated(self, batch):
        rule = lambda inst: jnp.arange(3)  # noqa: E731
        assert prioritize(batch, rule).tolist() == [[0, 1, 2], [0, 1, 2]]

    @pytest.mark.jax_defaults
    def test_the_rule_of_the_design_page(self, batch):
        def my_rule(inst):
            return inst.output_tokens * (inst.prompt_tokens + 0.5 * inst.output_tokens)

        assert prioritize(batch, my_rule).tolist() == [[8, 12, 2.5], [5.5, 12, 7.5]]

    def test_another_batch_of_the_same_shape_traces_nothing(self, batch):
        rule, traces = counted(lambda inst: inst.output_tokens)
        prioritize(batch, rule)
        other = Instance.from_lengths(batch.output_tokens, batch.prompt_tokens, kv_capacity=99)
        assert prioritize(other, rule).tolist() == batch.prompt_tokens.tolist()
        assert len(traces) == 1

    def test_runs_inside_jit_and_vmap(self, batch):
        expected = prioritize(batch, "smallest_volume")
        jitted = jax.jit(lambda inst: prioritize(inst, "smallest_volume"))(batch)
        mapped = jax.vmap(lambda inst: prioritize(inst, "smallest_volume"))(batch)
        assert jitted.tolist() == mapped.tolist() == expected.tolist()

    def test_keeps_the_dtype_of_the_rule(self, one, x64):
        rule = lambda inst: inst.volume.astype(jnp.float64 if x64 else jnp.float32)  # noqa: E731
        assert prioritize(one, rule).dtype == (jnp.float64 if x64 else jnp.float32)

    @pytest.mark.parametrize(
        ("output", "found"),
        [
            (lambda inst: jnp.zeros((3, 4), jnp.float32), r"float32\[3, 4\]"),
            (lambda inst: jnp.float32(0), r"float32\[\]"),
            (lambda inst: [1, 2, 3], "list"),
            (lambda inst: None, "NoneType"),
        ],
    )
    def test_an_output_of_the_wrong_shape_is_named(self, one, batch, output, found):
        def my_rule(inst):
            return output(inst)

        message = rf"rule 'my_rule' returned {found}; expected \[3\], one priority for each request"
        for inst in (one, batch):
            with pytest.raises(ValueError, match=message):
                prioritize(inst, my_rule)

    def test_an_output_that_is_no_number_is_named(self, one):
        with pytest.raises(TypeError, match=r"returned bool\[3\]; expected integers or floats"):
            prioritize(one, lambda inst: inst.output_tokens > 1)

    @pytest.mark.parametrize(
        "body",
        [
            lambda inst: np.log(inst.volume),
            lambda inst: inst.output_tokens if inst.kv_capacity > 3 else inst.prompt_tokens,
            lambda inst: jnp.arange(int(inst.kv_capacity)),
            lambda inst: [1, 2, 3][inst.num_requests],
            lambda inst: inst.output_tokens[inst.is_real],
        ],
        ids=["numpy", "if", "int", "index", "mask"],
    )
    def test_a_rule_that_needs_concrete_numbers_is_sent_to_host_rule(self, batch, body):
        def my_rule(inst):
            return body(inst)

        with pytest.raises(
            TypeError, match=r"rule 'my_rule' needs concrete.*@js\.policies\.host_rule"
        ):
            prioritize(batch, my_rule)


class TestParametricRules:
    def test_other_parameters_trace_nothing(self, batch):
        traces = []

        @chex.dataclass(frozen=True)
        class Weighted:
            weight: jax.Array

            def __call__(self, inst):
                traces.append(1)
                return inst.output_tokens * self.weight

        assert prioritize(batch, Weighted(weight=jnp.int32(2))).tolist()[0] == [4, 8, 2]
        assert prioritize(batch, Weighted(weight=jnp.int32(3))).tolist()[0] == [6, 12, 3]
        assert len(traces) == 1

    def test_parameters_can_be_mapped_and_differentiated(self, one):
        def total(weight):
            return prioritize(one, TiltedVolume(weight=weight)).sum()

        weights = jnp.array([0.0, 1.0])
        assert jax.vmap(total)(weights).shape == (2,)
        slope = jax.grad(total)(jnp.float32(0.0))
        assert slope == pytest.approx(np.log([3, 1, 2]).sum())

    def test_a_pytree_without_leaves_is_a_rule(self, one):
        @chex.dataclass(frozen=True)
        class Longest:
            def __call__(self, inst):
                return -inst.output_tokens

        assert prioritize(one, Longest()).tolist() == [-2, -4, -1]

    def test_a_class_is_not_an_instance_of_it(self, one):
        with pytest.raises(TypeError, match="TiltedVolume is a class"):
            prioritize(one, TiltedVolume)

    def test_an_object_that_can_be_neither_mapped_nor_hashed_is_refused(self, one):
        @dataclasses.dataclass
        class Plain:
            weight: float

            def __call__(self, inst):
                return inst.output_tokens * self.weight

        with pytest.raises(TypeError, match=r"rule 'Plain'.*@chex\.dataclass\(frozen=True\)"):
            prioritize(one, Plain(2.0))

    def test_names(self):
        assert rule_name(TiltedVolume(weight=0.0)) == "TiltedVolume"
        assert rule_name(functools.partial(TiltedVolume.__call__, None)) == "__call__"


class TestHostRules:
    def test_sees_one_instance_of_numpy_arrays(self, batch):
        seen = []

        @host_rule
        def recorded(inst):
            """Docstring."""
            seen.append(inst)
            return inst.prompt_tokens.astype(np.int64)

        prioritize(batch, recorded)
        assert [type(inst.prompt_tokens) for inst in seen] == [np.ndarray, np.ndarray]
        assert [inst.prompt_tokens.tolist() for inst in seen] == batch.prompt_tokens.tolist()
        assert [int(inst.kv_capacity) for inst in seen] == [8, 9]
        assert (recorded.__name__, recorded.__doc__) == ("recorded", "Docstring.")

    def test_returns_dense_ranks_with_ties_kept(self, batch):
        priority = prioritize(batch, host_rule(lambda inst: inst.prompt_tokens * 1000))
        assert priority.tolist() == [[2, 0, 1], [1, 1, 0]]
        assert priority.dtype == np.int32

    @pytest.mark.parametrize(
        "values",
        [
            np.array([2**40 + 1, 2**40, -(2**40)]),
            np.array([2**64 - 1, 2**63, 5], np.uint64),
            np.array([1 + 2e-12, 1 + 1e-12, 1.0]),
            np.array([np.inf, 1e300, -np.inf]),
        ],
        ids=["int64", "uint64", "float64", "infinite"],
    )
    def test_priorities_that_32_bits_would_tie_or_wrap_stay_apart(self, one, values, x64):
        assert prioritize(one, host_rule(lambda inst: values)).tolist() == [2, 1, 0]

    def test_nan_stays_visible_where_it_is(self, batch):
        def cornered(inst):
            return np.where(inst.prompt_tokens == 5, np.nan, inst.prompt_tokens)

        priority = np.asarray(prioritize(batch, host_rule(cornered)))
        assert np.isnan(priority).tolist() == [[False] * 3, [True, True, False]]
        assert priority[0].tolist() == [2, 0, 1]

    def test_nan_of_padding_is_of_no_account(self, one):
        padded = stack([one, Instance.from_lengths([1] * 5, [1] * 5, kv_capacity=8)])
        priority = prioritize(
            padded, host_rule(lambda inst: np.where(inst.is_real, inst.prompt_tokens, np.nan))
        )
        assert priority.dtype == np.int32
        assert priority[0, :3].tolist() == [2, 0, 1]

    def test_its_output_is_checked(self, batch):
        with pytest.raises(ValueError, match=r"returned int64\[2\]; expected \[3\]"):
            prioritize(batch, host_rule(lambda inst: np.zeros(2, np.int64)))
        with pytest.raises(TypeError, match=r"returned bool\[3\]; expected integers or floats"):
            prioritize(batch, host_rule(lambda inst: inst.is_real))

    def test_inside_jit_or_vmap_it_says_what_to_do(self, one, batch):
        @host_rule
        def my_solver(inst):
            return inst.prompt_tokens

        message = "host rule 'my_solver' needs concrete numbers.* js.prioritize.* outside"
        with pytest.raises(TypeError, match=message):
            jax.jit(lambda inst: prioritize(inst, my_solver))(one)
        with pytest.raises(TypeError, match=message):
            jax.vmap(my_solver)(batch)

    def test_called_on_many_instances_it_says_what_to_do(self, batch):
        with pytest.raises(ValueError, match=r"takes one instance .* leading axes \(2,\)"):
            host_rule(lambda inst: inst.prompt_tokens)(batch)


@pytest.mark.parametrize("thing", [3, None, ["fcfs"]])
def test_what_is_no_rule_is_refused(one, thing):
    with pytest.raises(TypeError, match="a rule is a callable or the name of one"):
        prioritize(one, thing)
