"""The package's pytrees: frozen, mapped over, compared by identity, sent to other processes."""

import copy
import dataclasses
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js

INSTANCE = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
TREES = {
    "instance": INSTANCE,
    "schedule": js.Schedule.from_starts(INSTANCE, [0, 1]),
    "clock": js.clock.LinearClock(1.0, 2.0, 3.0, 4.0, 5.0),
    "improvement": js.improve(INSTANCE, "fcfs", num_steps=1, num_chains=1, key=jax.random.key(0)),
    "linear_score": js.policies.linear_score(["log_output"], [2.0]),
    "mlp_score": js.policies.mlp_score(hidden=2),
    "tangent_noise": js.tuning.default_estimator(),
    "guided_noise": js.tuning.GuidedNoise(noise=0.1),
    "pathwise": js.tuning.Pathwise(temperature=0.2),
    "plackett_luce": js.tuning.PlackettLuce(temperature=0.2),
    "evolution": js.tuning.EvolutionStrategies(noise=0.1),
}


@pytest.fixture(params=TREES)
def tree(request):
    return TREES[request.param]


def same(one, other):
    leaves, structure = jax.tree.flatten(one)
    others, other_structure = jax.tree.flatten(other)
    return structure == other_structure and all(map(np.array_equal, leaves, others))


def test_they_go_through_tree_map_and_come_back_as_they_were(tree):
    again = jax.tree.map(lambda leaf: leaf, tree)
    assert type(again) is type(tree)
    assert same(tree, again)


@pytest.mark.parametrize(
    "way", [copy.copy, copy.deepcopy, lambda tree: pickle.loads(pickle.dumps(tree))]
)
def test_copies_and_pickles_are_the_same(tree, way):
    assert same(tree, way(tree))


def test_nobody_changes_one(tree):
    field = dataclasses.fields(tree)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(tree, field, 0)


def test_replace_copies_with_other_values(tree):
    field = dataclasses.fields(tree)[0].name
    for changed in (tree.replace(**{field: 7}), dataclasses.replace(tree, **{field: 7})):
        assert getattr(changed, field) == 7
        assert type(changed) is type(tree)


def test_they_are_compared_by_identity_and_have_a_hash(tree):
    assert tree == tree
    assert tree != copy.copy(tree)
    assert hash(tree) == hash(tree)


def test_the_text_names_the_type(tree):
    assert repr(tree).startswith(type(tree).__name__)


def test_static_fields_are_structure_and_others_are_leaves():
    rule = TREES["linear_score"]
    assert len(jax.tree.leaves(rule)) == 1
    doubled = jax.jit(lambda rule: jax.tree.map(lambda leaf: 2 * leaf, rule))(rule)
    assert doubled.features == ("log_output",)
    assert doubled.weights.tolist() == [4.0]


def test_they_are_mapped_over_axes_of_their_own():
    batch = js.stack([INSTANCE, INSTANCE])
    axes = dataclasses.replace(batch, **{field.name: 0 for field in dataclasses.fields(batch)})
    total = jax.vmap(lambda inst: jnp.sum(inst.output_tokens), in_axes=(axes,))(batch)
    assert total.tolist() == [6, 6]
