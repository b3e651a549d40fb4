"""Indexing over the leading axes of the nouns."""

import jax
import numpy as np
import pytest

import jaxsched as js

INST = js.workloads.chat(jax.random.key(0), num_requests=5, batch=4)
SCHED = js.simulate(INST, INST.output_tokens)
NOUNS = {
    "instance": INST,
    "schedule": SCHED,
    "outcome": js.Outcome.from_schedule(INST, SCHED),
    "requests": INST.as_requests(),
}


@pytest.fixture(params=NOUNS)
def noun(request):
    return NOUNS[request.param]


@pytest.mark.parametrize(
    "index", [0, -1, slice(1, 3), [2, 0], np.array([True, False, True, False])]
)
def test_takes_leading_axes_and_leaves_requests_together(noun, index):
    part = noun[index]
    assert type(part) is type(noun)
    for got, leaf in zip(jax.tree.leaves(part), jax.tree.leaves(noun), strict=True):
        np.testing.assert_array_equal(got, np.asarray(leaf)[index])
        assert got.dtype == leaf.dtype


def test_has_the_length_of_its_first_axis_and_ends(noun):
    assert len(noun) == 4
    assert len(list(noun)) == 4
    assert bool(noun)


@pytest.mark.parametrize("index", [4, -5, (0, 0), (..., 0, 0)])
def test_an_index_out_of_range_is_an_error(noun, index):
    with pytest.raises(IndexError, match=r"with the leading axes \(4,\)"):
        noun[index]


def test_one_alone_has_no_length(noun):
    with pytest.raises(TypeError, match="has no leading axes, so no length"):
        len(noun[0])
    assert bool(noun[0])


def test_indexing_works_inside_a_program():
    totals = jax.jit(lambda inst: inst[1].output_tokens.sum())(INST)
    assert totals == INST.output_tokens[1].sum()
