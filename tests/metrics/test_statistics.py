"""Paired tests against scipy's, and Holm's correction against its definition."""

import numpy as np
import pytest
from scipy import stats

from jaxsched.metrics.statistics import holm, paired_tests

RANDOM = np.random.default_rng(3)
DIFFERENCES = RANDOM.normal(0.3, 1.0, (2, 5, 12))


def holm_by_hand(p_values):
    """Step down: the k-th smallest of R counts R - k + 1 times, and none less than one before."""
    corrected, highest = {}, 0.0
    for place, number in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[number]))
        corrected[number] = highest
    return [corrected[number] for number in range(len(p_values))]


def test_t_is_that_of_scipy():
    found = paired_tests(DIFFERENCES)
    expected = stats.ttest_1samp(DIFFERENCES, 0.0, axis=-1)
    np.testing.assert_allclose(found.statistic, expected.statistic, rtol=1e-12)
    np.testing.assert_allclose(found.p_value, expected.pvalue, rtol=1e-9)


def test_wilcoxon_is_that_of_scipy():
    found = paired_tests(DIFFERENCES, "wilcoxon")
    for place in np.ndindex(2, 5):
        expected = stats.wilcoxon(DIFFERENCES[place])
        assert (found.statistic[place], found.p_value[place]) == tuple(expected)


@pytest.mark.parametrize("method", ["t", "wilcoxon"])
def test_the_correction_is_over_the_rules_of_one_metric(method):
    found = paired_tests(DIFFERENCES, method)
    for corrected, p_values in zip(found.p_holm, found.p_value, strict=True):
        assert corrected.tolist() == pytest.approx(holm_by_hand(p_values.tolist()))


def test_holm_on_a_textbook_example():
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])).tolist() == pytest.approx(
        [0.03, 0.06, 0.06, 0.02]
    )
    assert holm(np.array([0.9, 0.6])).tolist() == [1.0, 1.0]


def test_holm_leaves_out_what_is_no_test():
    corrected = holm(np.array([0.02, np.nan, 0.03]))
    np.testing.assert_allclose(corrected, [0.04, np.nan, 0.04])


@pytest.mark.parametrize("method", ["t", "wilcoxon"])
def test_rules_that_do_the_same_do_not_differ(method):
    found = paired_tests(np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 4.0]]), method)
    assert (found.statistic[0], found.p_value[0], found.p_holm[0]) == (0.0, 1.0, 1.0)
    assert found.p_holm[1] < 1


def test_one_instance_tests_nothing():
    assert np.isnan(paired_tests(np.ones((3, 1)))).all()


def test_differences_that_are_all_alike_are_certain():
    assert paired_tests(np.full((1, 4), 2.0)).p_value.tolist() == [0.0]


def test_an_unknown_test_is_named():
    with pytest.raises(ValueError, match="method is 'welch'; expected one of t, wilcoxon"):
        paired_tests(DIFFERENCES, "welch")
