"""The oracles against schedules worked out by hand (pairs are prompt, output)."""

import pytest

from tests.reference.earliest_fit import earliest_fit
from tests.reference.strict_order import strict_order

BOTH = pytest.mark.parametrize("oracle", [strict_order, earliest_fit])


@BOTH
def test_two_that_fit_start_together(oracle):
    # (3, 2) holds 4, 5 and (1, 4) holds 2, 3, 4, 5: 6 in round 1 and 8 in round 2.
    assert oracle([3, 1], [2, 4], 8, [0, 1]) == [0, 0]


@BOTH
def test_a_request_can_become_startable_with_no_completion_in_between(oracle):
    # One token less: together they would hold 8 in round 2, a round apart they hold 5 + 2.
    assert oracle([3, 1], [2, 4], 7, [0, 1]) == [0, 1]


@BOTH
def test_order_lists_requests_first_served_first(oracle):
    # (1, 4) first; before it completes (3, 2) would add 4 or 5 to 3, 4 or 5 tokens: over 7.
    assert oracle([3, 1], [2, 4], 7, [1, 0]) == [4, 0]


@BOTH
def test_peak_admission_counts_the_final_size_from_the_start(oracle):
    # Final sizes are 5 and 5: 10 > 8, so the second waits for the first to complete.
    assert oracle([3, 1], [2, 4], 8, [0, 1], admission="peak") == [0, 2]
    assert oracle([3, 1], [2, 4], 10, [0, 1], admission="peak") == [0, 0]


@BOTH
def test_max_num_seqs_caps_those_active_at_once(oracle):
    assert oracle([1, 1, 1], [2, 1, 1], 100, [0, 1, 2], max_num_seqs=2) == [0, 0, 1]
    assert oracle([1, 1, 1], [2, 1, 1], 100, [0, 1, 2], max_num_seqs=1) == [0, 2, 3]


@pytest.mark.parametrize(
    ("oracle", "starts"), [(strict_order, [0, 2, 2]), (earliest_fit, [0, 2, 0])]
)
def test_only_strict_order_lets_a_request_block_those_behind_it(oracle, starts):
    # (5, 2) twice do not fit 8 together. (1, 1) holds 2 in its round: 6 + 2 beside either.
    assert oracle([5, 5, 1], [2, 2, 1], 8, [0, 1, 2]) == starts


def test_earliest_fit_leaves_room_for_those_that_start_later():
    # (4, 2) twice run in rounds 1-2 and 3-4 holding 5, 6, 5, 6 of 8. The third holds 2, 3, 4:
    # rounds 2-3 have room for 2, 3 but round 4 has none for 4, so with o = 3 it waits for round 4.
    assert earliest_fit([4, 4, 1], [2, 2, 2], 8, [0, 1, 2]) == [0, 2, 1]
    assert earliest_fit([4, 4, 1], [2, 2, 3], 8, [0, 1, 2]) == [0, 2, 3]


def test_earliest_fit_counts_later_starts_in_max_num_seqs():
    # (10, 1) holds 11 of 13 in round 1, so the two of (3, 3) run in rounds 2-4, holding 8, 10, 12.
    # The tokens of (1, 2) fit in rounds 1-2, but it would be the third active in round 2.
    prompt, output = [10, 3, 3, 1], [1, 3, 3, 2]
    assert earliest_fit(prompt, output, 13, [0, 1, 2, 3]) == [0, 1, 1, 0]
    assert earliest_fit(prompt, output, 13, [0, 1, 2, 3], max_num_seqs=2) == [0, 1, 1, 4]


@BOTH
def test_one_request_that_fills_the_cache(oracle):
    assert oracle([7], [3], 10, [0]) == [0]
    assert oracle([7, 7], [3, 3], 10, [0, 1]) == [0, 3]


def test_an_unknown_admission_is_refused():
    with pytest.raises(ValueError, match="lookahead"):
        strict_order([1], [1], 2, [0], admission="lookahead")
