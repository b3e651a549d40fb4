"""Errors about arguments: one sentence for the library, the same for an option."""

import pickle

import numpy as np
import pytest

from jaxsched._lib import errors
from jaxsched._lib.errors import InputError, UnknownName


def test_the_sentence_names_argument_position_value_and_expectation():
    with pytest.raises(InputError) as caught:
        errors.reject("start", [[0, 3], [-1, 2]], [[False, False], [True, False]], "expected >= 0")
    error = caught.value
    assert str(error) == "start[1, 0] is -1; expected >= 0"
    assert error.about("--start") == "--start[1, 0] is -1; expected >= 0"
    assert (error.argument, error.position, error.value) == ("start", (1, 0), -1)
    assert error.expectation == "expected >= 0"


def test_nothing_is_rejected_where_nothing_is_bad():
    errors.reject("start", [1, 2], [False, False], "expected nothing")


@pytest.mark.parametrize("value", [2.5, 2.0, "2", None, True, np.True_, np.float32(2), [2], 0])
def test_what_is_no_integer_of_at_least_one(value):
    with pytest.raises(InputError, match=r"^steps is .*; expected an integer >= 1$"):
        errors.integer("steps", value)


@pytest.mark.parametrize("value", [3, np.int64(3), np.array(3)])
def test_an_integer_comes_back_as_an_int(value):
    assert type(errors.integer("steps", value)) is int


def test_an_integer_has_a_most():
    assert errors.integer("count", 5, 0, 5) == 5
    with pytest.raises(InputError, match="count is 6; expected an integer from 0 to 5"):
        errors.integer("count", 6, 0, 5)
    with pytest.raises(InputError, match=r"expected an integer from 1 to 2\^31 - 1"):
        errors.integer("count", 2**31, 1, errors.MAX_INT32)


@pytest.mark.parametrize("value", ["x" * 10_000, np.arange(10_000), list(range(10_000)), 10**4000])
def test_a_long_value_is_cut(value):
    assert len(str(InputError("name", value, "expected less"))) < 120


@pytest.mark.parametrize(
    "error",
    [
        InputError("start", -1, "expected a round", (1, 0)),
        errors.wrong_shape("start", (3,), "expected (2,)"),
        UnknownName("bound", "volum", ["volume"], ["v"]),
    ],
)
def test_errors_cross_processes(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)


def test_an_unknown_name_is_an_error_of_value_and_of_key():
    error = UnknownName("bound", "volum", ["volume", "price"])
    assert isinstance(error, ValueError)
    assert isinstance(error, KeyError)
    assert str(error) == "no bound is called 'volum'; did you mean 'volume'?"
