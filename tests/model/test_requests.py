"""Requests that arrive over time: validation, files, tables, backlogs, indexing."""

import jax
import numpy as np
import pytest

import jaxsched as js

THREE = js.Requests.from_arrays(
    [0.0, 1e9 + 0.123456789, 2e9],
    [3, 1, 2],
    [2, 4, 3],
    predicted_output_tokens=[0.0, 1e9, 2.5],
    priority=[2**53 + 1, -1, 0],
    client=[0, 1, 0],
    ttft_slo_s=0.5,
    tpot_slo_s=[0.05, np.inf, 0.1],
    is_counted=[True, False, True],
)


def test_every_bit_of_an_arrival_time_is_kept_whatever_the_width_of_jax_numbers(x64):
    del x64
    reqs = js.Requests.from_arrays([0.1, 1e9 + 0.123456789], [1, 1], [1, 1])
    assert reqs.arrival_s.dtype == np.float64
    assert reqs.arrival_s.tolist() == [0.1, 1e9 + 0.123456789]
    inside = jax.jit(lambda reqs: reqs)(reqs)
    assert inside.arrival_s.tolist() == reqs.arrival_s.tolist()


def test_optional_fields_are_taken_as_they_come():
    assert THREE.predicted_output_tokens.tolist() == [0.0, 1e9, 2.5]
    assert THREE.priority.tolist() == [2**53 + 1, -1, 0]
    assert THREE.ttft_slo_s.tolist() == [0.5] * 3
    assert THREE.tpot_slo_s[1] == np.inf


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"arrival_s": [0.0, 2.0, 1.0]},
            r"arrival_s\[2\] is 1.0; expected ascending",
        ),
        ({"arrival_s": [0.0, -1.0, 1.0]}, r"arrival_s\[1\] is -1.0; expected finite seconds >= 0"),
        ({"arrival_s": [0.0, np.nan, 1.0]}, r"arrival_s\[1\] is nan; expected finite"),
        ({"arrival_s": [0.0, 1.0, np.inf]}, r"arrival_s\[2\] is inf; expected finite"),
        ({"arrival_s": ["0", "1", "2"]}, "arrival_s has dtype <U1; expected numbers"),
        ({"arrival_s": 0.0}, r"arrival_s has shape \(\); expected \[.., n\]"),
        ({"prompt_tokens": [1, 0, 1]}, r"prompt_tokens\[1\] is 0; expected an integer >= 1"),
        ({"output_tokens": [1, 1.5, 1]}, r"output_tokens\[1\] is 1.5; expected an integer"),
        ({"output_tokens": [1, 1]}, r"output_tokens has shape \(2,\) but arrival_s has \(3,\)"),
        ({"output_tokens": [1, 1, 2**31 - 1]}, r"\[2\] is 2147483648; expected less than 2\^31"),
        ({"predicted_output_tokens": [1, -1, 1]}, r"predicted_output_tokens\[1\] is -1.0"),
        ({"priority": ["a", "b", "c"]}, "priority has dtype <U1; expected numbers"),
        ({"client": [0, -1, 0]}, r"client\[1\] is -1; expected an integer from 0"),
        ({"ttft_slo_s": 0.0}, "ttft_slo_s is 0.0; expected seconds > 0"),
        ({"tpot_slo_s": [1.0]}, r"tpot_slo_s has shape \(1,\); expected one number"),
    ],
)
def test_errors_name_field_position_value_and_expectation(change, message):
    fields = {"arrival_s": [0, 1, 2], "prompt_tokens": [1] * 3, "output_tokens": [1] * 3}
    with pytest.raises(ValueError, match=message):
        js.Requests.from_arrays(**{**fields, **change})


def test_files_keep_every_field(tmp_path):
    THREE.save(tmp_path / "reqs.npz")
    again = js.Requests.load(tmp_path / "reqs.npz")
    for field, value in vars(THREE).items():
        np.testing.assert_array_equal(getattr(again, field), value, err_msg=field)
        assert getattr(getattr(again, field), "dtype", None) == getattr(value, "dtype", None), field
    inst = js.Instance.from_lengths([3], [1], kv_capacity=9)
    inst.save(tmp_path / "inst.npz")
    with pytest.raises(ValueError, match="holds Instance, expected Requests"):
        js.Requests.load(tmp_path / "inst.npz")


def test_fields_that_are_absent_stay_absent(tmp_path):
    js.Requests.from_arrays([0.0], [1], [1]).save(tmp_path / "reqs.npz")
    assert js.Requests.load(tmp_path / "reqs.npz").client is None


def test_backlogs_and_requests_turn_into_each_other():
    inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
    again = inst.as_requests().as_backlog(8)
    for field, value in vars(inst).items():
        np.testing.assert_array_equal(getattr(again, field), value)
    with pytest.raises(ValueError, match="request 1 needs 5 tokens at its end"):
        js.Requests.from_arrays([0, 1], [1, 4], [1, 1]).as_backlog(4)


def test_padding_never_arrives_and_stays_padding():
    both = js.stack([THREE[None][0], THREE])
    assert len(both) == 2
    short = js.Requests.from_arrays([5.0], [7], [8])
    joined = js.stack([short, js.Requests.from_arrays([0.0, 1.0], [3, 1], [2, 4])])
    assert joined.arrival_s.tolist() == [[5.0, np.inf], [0.0, 1.0]]
    assert joined.num_requests.tolist() == [1, 2]
    assert joined.as_backlog([20, 20]).is_real.tolist() == joined.is_real.tolist()
    with pytest.raises(ValueError, match=r"instances\[1\] is .*expected Requests with the fields"):
        js.stack([short, THREE])


def test_tables_have_a_row_a_request():
    table = THREE.to_pandas()
    assert table["arrival_s"].tolist() == [0.0, 1e9 + 0.123456789, 2e9]
    assert list(table.columns[:3]) == ["stream", "request", "arrival_s"]
    assert "client" in table


def test_text_says_what_there_is():
    assert repr(THREE).startswith("Requests(n=3, arrival_s=0..2e+09, predicted_output_tokens,")
    assert "3 requests over" in THREE._repr_html_()
    assert "n=3" in str(jax.eval_shape(lambda reqs: reqs, THREE))


def test_numbers_above_float32_are_infinite():
    reqs = js.Requests.from_arrays(
        [0.0], [3], [2], predicted_output_tokens=[1e308], ttft_slo_s=1e308, tpot_slo_s=0.5
    )
    assert reqs.predicted_output_tokens.tolist() == reqs.ttft_slo_s.tolist() == [np.inf]
    assert reqs.predicted_output_tokens.dtype == np.float32
