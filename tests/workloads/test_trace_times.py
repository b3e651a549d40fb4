"""Times of arrival: notations, units that a file may not keep to, and times that are not there."""

import numpy as np
import pytest

from jaxsched import traces
from tests.workloads.test_trace_formats import AZURE, KEY, MOONCAKE, PLAIN

# Formats whose times are whole numbers of a short unit, and a row of each.
UNIT_OF_FORMAT = {
    "Mooncake": ("ms", MOONCAKE.replace("%s", "10", 2).replace("10", "%s", 1)),
    "LLMServingSim": ("ns", '{"input_toks": 10, "output_toks": 3, "arrival_time_ns": %s}\n'),
    "AIPerf": (
        "ns",
        '{"metadata": {"request_start_ns": %s}, "metrics": {"input_sequence_length": {"value": 10},'
        ' "output_sequence_length": {"value": 3}}}\n',
    ),
}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("1715299200.0", "1715299201.5"),
        ("1715299200000", "1715299201500"),
        ("1715299200000000000", "1715299201500000000"),
        ("2024-05-10T00:00:00Z", "2024-05-10T00:00:01.5Z"),
        ("2024-05-10 02:00:00+02:00", "2024-05-10 00:00:01.500+00:00"),
    ],
)
def test_clear_notations_are_read(write, first, second):
    trace = traces.read(write(f"{AZURE}{first},10,5\n{second},20,6\n"))
    assert trace.arrived_at.tolist() == [0.0, 1.5]


def test_dates_in_a_format_of_numbers(write):
    text = MOONCAKE % ('"2024-05-10T00:00:00Z"', 586) + MOONCAKE % (
        '"2024-05-10T00:01:00Z"',
        5,
    )
    assert traces.read(write(text)).arrived_at.tolist() == [0, 60]


@pytest.mark.parametrize("bad", ["17.5", "10/May/2024:13:55:36", "noon"])
def test_bad_ones_matter_only_where_times_are_asked_for(write, bad):
    path = write(f"{AZURE}{bad},10,5\n")
    assert traces.load(path, 100).prompt_tokens.tolist() == [10]
    assert traces.read(path, times=False).arrived_at is None
    for use in (traces.read, traces.load_requests):
        with pytest.raises(ValueError, match=r"line 2: TIMESTAMP is .*; expected a"):
            use(path)


def test_a_unit_mistaken_is_refused(write):
    path = write(PLAIN.replace("0.0,", "1715299200000,").replace("1.5,", "1715299200500,"))
    with pytest.raises(ValueError, match="expected a time in s; give its unit"):
        traces.read(path)
    assert traces.read(path, columns={"unit": "ms"}).arrived_at.tolist() == [0, 0.5]


@pytest.mark.parametrize("form", UNIT_OF_FORMAT)
@pytest.mark.parametrize(
    ("unit", "first", "second"),
    [
        ("s", "1700000000", "1700000001.5"),
        ("s", "1700000000.25", "1700000001.75"),
        ("s", "0.0", "1.5"),
        ("s", "0.25", "1.75"),
        ("ms", "1700000000000", "1700000001500"),
        ("us", "1700000000000000", "1700000001500000"),
    ],
)
def test_the_unit_of_a_format_is_doubted_where_another_fits(write, form, unit, first, second):
    own, row = UNIT_OF_FORMAT[form]
    path = write(row % first + row % second)
    if own == unit or (own, unit) == ("ms", "us"):
        return  # the unit is right, or too large for any date
    with pytest.raises(ValueError, match=r"could be .*; give its unit: columns=unit=") as caught:
        traces.read(path)
    assert f"columns=unit={unit}" in str(caught.value)
    assert traces.load(path, 99).output_tokens.tolist() == [3, 3]
    given = traces.read(path, columns=f"unit={unit}").arrived_at
    np.testing.assert_allclose(given - given[0], [0, 1.5])
    assert traces.read(path, columns=f"unit={own}").arrived_at is not None


@pytest.mark.parametrize(
    ("form", "times"),
    [
        ("Mooncake", ["0", "3052", "1700000000"]),  # 19 days
        ("Mooncake", ["1715299200000", "1715299201500.5", "1715299202000"]),
        ("LLMServingSim", ["1200000000", "1300000000", "9000000000"]),  # from 1.2 s on
        ("LLMServingSim", ["46926808.25", "146926808.5", "246926808.5"]),
        ("AIPerf", ["1758000000000000000", "1758000000500000001", "1758000001000000000"]),
    ],
)
def test_the_unit_of_a_format_is_kept_where_no_other_fits(write, form, times):
    unit, row = UNIT_OF_FORMAT[form]
    trace = traces.read(write("".join(row % time for time in times)))
    seconds = np.array([float(time) for time in times]) / {"ms": 1e3, "ns": 1e9}[unit]
    from_first = np.diff(seconds) if unit == "ms" else np.diff(seconds).round(3)
    np.testing.assert_allclose(np.diff(trace.arrived_at), from_first, atol=1e-3)


def test_fractions_far_down_a_file(write):
    row = UNIT_OF_FORMAT["Mooncake"][1]
    text = "".join(row % number for number in range(20_000)) + row % 20_000.5
    with pytest.raises(ValueError, match=r"line 20001: timestamp is 20000.5; expected a whole"):
        traces.read(write(text))


def test_a_unit_told_by_size_is_not_told_where_times_would_be_years_apart(write):
    text = "a,b,t_ns\n10,3,1200000000\n10,3,1300000000\n"
    with pytest.raises(ValueError, match=r"line 2: t_ns is .*; give its unit: columns=unit=s"):
        traces.read(write(text), columns="prompt=a,output=b,arrival=t_ns")


@pytest.mark.parametrize(
    ("first", "second"), [("0", "1700000000"), ("1700000000", "0"), ("5", "2024-05-10")]
)
def test_two_notations_in_one_column(write, first, second):
    path = write(PLAIN.replace("0.0,", f"{first},").replace("1.5,", f"{second},"))
    with pytest.raises(ValueError, match=r"line 3: arrived_at is '.*; expected a time in s s"):
        traces.read(path)


@pytest.mark.parametrize(
    ("first", "second", "zone"), [("00", "05+00:00", "without"), ("00Z", "05", "with")]
)
def test_dates_with_and_without_a_zone(write, first, second, zone):
    dates = (f"2024-05-10T00:00:{each}" for each in (first, second))
    with pytest.raises(ValueError, match=f"line 3: .* {zone} a zone, like the first"):
        traces.read(write(AZURE + "".join(f"{date},10,5\n" for date in dates)))


def test_times_that_begin_far_down_are_refused_where_they_are_wanted(write):
    row = '{"input_length": 10, "output_length": 3}\n'
    path = write(row * 150 + MOONCAKE % (7, 10))
    assert len(traces.load(path, 99).output_tokens) == 151
    assert traces.read(path, times=False).arrived_at is None
    for read in (
        lambda: traces.read(path),
        lambda: traces.load_requests(path, rate=1.0, key=KEY),
        lambda: traces.load_requests(path, rate=1.0, key=KEY, num_requests=5),
    ):
        with pytest.raises(ValueError, match="line 151 has 'timestamp', which none of the fir"):
            read()


def test_later_turns_of_a_session_have_none(write):
    path = write(MOONCAKE % (500, 10) + '{"delay": 3, "input_length": 9, "output_length": 4}\n')
    assert traces.load(path, 100).prompt_tokens.tolist() == [10, 9]
    np.testing.assert_array_equal(traces.read(path).arrived_at, [0.5, np.nan])
    with pytest.raises(ValueError, match="line 2: has no time of arrival; a later turn"):
        traces.load_requests(path)
    with pytest.warns(traces.TraceWarning, match="left out 1 of 2 rows"):
        assert traces.load_requests(path, drop_invalid=True).prompt_tokens.tolist() == [10]


def test_in_a_table_a_later_turn_is_an_empty_cell(write):
    path = write(PLAIN + ",300,6\n")
    np.testing.assert_array_equal(traces.read(path).arrived_at, [0, 1.5, np.nan])
    assert traces.load(path, 5000).prompt_tokens.tolist() == [1024, 200, 300]
    with pytest.raises(ValueError, match="line 4: has no time of arrival; a later turn"):
        traces.load_requests(path)
    assert traces.read(path, until="9s").prompt_tokens.tolist() == [1024, 200]
