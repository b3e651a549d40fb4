"""Streams of recorded requests: their times, rates, samples and order."""

import jax
import numpy as np
import pytest

from jaxsched import traces

KEY = jax.random.key(0)
HEADER = "arrived_at,num_prefill_tokens,num_decode_tokens\n"
TIMES = [3.0, 3.5, 3.5, 7.25, 9.0]


def rows_of(times):
    return HEADER + "".join(f"{t},{k},{k + 10}\n" for k, t in enumerate(times, start=1))


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "trace"
        path.write_text(text)
        return path

    return write


def times(reqs):
    return np.asarray(reqs.arrival_s)


def test_times_count_from_the_first_request(write):
    reqs = traces.load_requests(write(rows_of(TIMES)))
    assert times(reqs).dtype == np.float64
    assert times(reqs).tolist() == [0.0, 0.5, 0.5, 4.25, 6.0]
    assert reqs.prompt_tokens.tolist() == [1, 2, 3, 4, 5]
    assert reqs.output_tokens.tolist() == [11, 12, 13, 14, 15]
    assert reqs.is_real.all()


def test_dates_keep_every_bit(write):
    text = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(
        f"2023-11-16 18:{minute}:46.680590,3,2\n" for minute in (15, 16, 59)
    )
    assert times(traces.load_requests(write(text))).tolist() == [0.0, 60.0, 44 * 60.0]


def test_a_rate_stretches_time(write):
    path = write(rows_of(TIMES))
    reqs = traces.load_requests(path, rate=8.0)
    np.testing.assert_allclose(times(reqs), np.array([0, 0.5, 0.5, 4.25, 6.0]) / 6.0 * 4 / 8.0)
    assert 4 / times(reqs)[-1] == pytest.approx(8.0)


class TestSamples:
    @pytest.fixture
    def path(self, write):
        return write(rows_of(np.cumsum(np.arange(1, 41) % 7 + 0.25).tolist()))

    def test_consecutive_rows_from_random_places_on(self, path):
        whole = traces.load_requests(path)
        batch = traces.load_requests(path, num_requests=10, batch=300, key=KEY)
        first = np.asarray(batch.prompt_tokens)[:, 0] - 1
        assert set(first) == set(range(31))
        for stream, at in enumerate(first):
            expected = times(whole)[at : at + 10]
            np.testing.assert_array_equal(times(batch)[stream], expected - expected[0])
            assert batch.output_tokens[stream].tolist() == list(range(at + 11, at + 21))

    def test_each_stream_has_the_rate(self, path):
        batch = traces.load_requests(path, num_requests=10, batch=30, key=KEY, rate=2.5)
        np.testing.assert_allclose(9 / times(batch)[:, -1], 2.5)

    def test_equal_keys_give_equal_streams(self, path):
        draws = [
            times(traces.load_requests(path, num_requests=5, batch=4, key=key)).tolist()
            for key in (KEY, KEY, jax.random.key(1))
        ]
        assert draws[0] == draws[1] != draws[2]

    def test_one_stream_has_no_leading_axis(self, path):
        assert times(traces.load_requests(path, num_requests=5, key=KEY)).shape == (5,)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"num_requests": 5}, "needs both num_requests and key"),
            ({"key": KEY}, "needs both num_requests and key"),
            ({"batch": 5}, "needs both num_requests and key"),
            ({"num_requests": 41, "key": KEY}, "num_requests is 41; expected 1 to 40"),
            ({"num_requests": 2, "batch": 0, "key": KEY}, "batch is 0; expected an integer >= 1"),
            ({"num_requests": 1, "key": KEY, "rate": 2.0}, "the 1 requests of a stream arrive"),
            ({"rate": 0.0}, "rate is 0.0; expected a finite number of requests a second > 0"),
            ({"rate": np.inf}, "rate is inf; expected a finite number"),
            ({"rate": "2"}, "rate is '2'; expected a finite number"),
            ({"rate": True}, "rate is True; expected a finite number"),
            ({"rate": 1e-320}, "rate is 1e-320; expected .* > 0, at least 1e-09"),
            ({"num_requests": 2.0, "key": KEY}, "num_requests is 2.0; expected an integer >= 1"),
            ({"num_requests": True, "key": KEY}, "num_requests is True; expected an integer >= 1"),
            ({"num_requests": 2, "batch": 10**12, "key": KEY}, "batch is 10+; expected at most 13"),
        ],
    )
    def test_arguments_go_together(self, path, arguments, message):
        with pytest.raises(ValueError, match=message):
            traces.load_requests(path, **arguments)


class TestOrder:
    def test_rows_out_of_order_are_an_error(self, write):
        path = write(rows_of([3.0, 7.0, 5.5]))
        with pytest.raises(ValueError, match=r"line 4: arrives at 5\.5 s, before line 3") as caught:
            traces.load_requests(path)
        assert str(caught.value) == (
            f"{path}: line 4: arrives at 5.5 s, before line 3 at 7 s; sort=True orders rows by "
            "arrival"
        )

    def test_sorting_keeps_equal_arrivals_as_in_the_file(self, write):
        reqs = traces.load_requests(write(rows_of([3.0, 7.0, 5.5, 7.0, 3.0])), sort=True)
        assert reqs.prompt_tokens.tolist() == [1, 5, 3, 2, 4]
        assert times(reqs).tolist() == [0.0, 0.0, 2.5, 4.0, 4.0]

    def test_samples_of_sorted_rows(self, write):
        path = write(rows_of(np.random.default_rng(0).permutation(50).tolist()))
        reqs = traces.load_requests(path, num_requests=4, batch=20, key=KEY, sort=True)
        np.testing.assert_array_equal(times(reqs), np.tile(np.arange(4.0), (20, 1)))


class TestRowsThatCannotRun:
    TEXT = rows_of(TIMES).replace("3.0,1,11", "3.0,1,0")

    def test_they_are_an_error(self, write):
        with pytest.raises(ValueError, match="line 2: the output has 0 tokens; expected at least"):
            traces.load_requests(write(self.TEXT))

    def test_they_are_dropped_and_counted_on_request(self, write):
        with pytest.warns(traces.TraceWarning, match="left out 1 of 5 rows") as caught:
            reqs = traces.load_requests(write(self.TEXT), drop_invalid=True)
        assert times(reqs).tolist() == [0.0, 0.0, 3.75, 5.5]
        assert caught[0].filename == __file__

    def test_requests_beyond_int32(self, write):
        text = HEADER + f"0,{2**31},1\n"
        with pytest.raises(ValueError, match=r"take 2147483649 tokens; expected at most 2\^31 - 1"):
            traces.load_requests(write(text))


class TestWithoutTimes:
    @pytest.fixture
    def path(self, write):
        rows = "".join(f"{k},1\n" for k in range(1, 2001))
        return write("num_prefill_tokens,num_decode_tokens\n" + rows)

    @pytest.mark.parametrize("arguments", [{}, {"rate": 2.0}, {"key": KEY}])
    def test_the_remedy_is_named(self, path, arguments):
        with pytest.raises(ValueError, match="has no arrival times; give both rate="):
            traces.load_requests(path, **arguments)

    def test_arrivals_are_a_poisson_process(self, path):
        reqs = traces.load_requests(path, rate=4.0, key=KEY)
        assert times(reqs)[0] == 0
        gaps = np.diff(times(reqs))
        assert gaps.mean() == pytest.approx(0.25, abs=4 * 0.25 / np.sqrt(gaps.size))
        assert gaps.std() == pytest.approx(gaps.mean(), rel=0.1)
        assert reqs.prompt_tokens.tolist() == list(range(1, 2001))

    def test_streams_have_times_of_their_own(self, path):
        reqs = traces.load_requests(path, rate=4.0, key=KEY, num_requests=20, batch=8)
        assert times(reqs).shape == (8, 20)
        assert len(np.unique(times(reqs)[:, -1])) == 8
        again = traces.load_requests(path, rate=4.0, key=KEY, num_requests=20, batch=8)
        np.testing.assert_array_equal(times(again), times(reqs))


class TestRealFiles:
    @pytest.mark.parametrize(
        ("name", "last_s"), [("azure2023_code", 3435.95), ("azure2023_conv", 3501.72)]
    )
    def test_an_hour_of_azure(self, data_dir, name, last_s):
        path = data_dir / f"{name}.csv.gz"
        reqs = traces.load_requests(path)
        assert times(reqs)[-1] == pytest.approx(last_s, abs=0.01)
        batch = traces.load_requests(path, num_requests=1000, batch=4, key=KEY, rate=5.0)
        np.testing.assert_allclose(999 / times(batch)[:, -1], 5.0)
