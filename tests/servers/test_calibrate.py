"""Clocks fitted to logs, steps and benchmark tables are the clocks that timed them."""

import gzip
import itertools
import json
import re

import numpy as np
import pytest

import jaxsched as js
from tests.servers.plain_engine import BLOCK, BUDGET, CAPACITY, CLOCK, log_lines, steps

NAMES = (
    "iteration_ms",
    "prefill_ms_per_token",
    "decode_ms_per_request",
    "kv_ms_per_token",
    "attention_ms_per_squared_token",
)
FEW = "the clock rests on"


def coefficients(clock):
    return [float(getattr(clock, name)) for name in NAMES]


@pytest.fixture(scope="module")
def engine():
    return list(steps())


@pytest.fixture
def log(engine, tmp_path):
    path = tmp_path / "engine.log"
    path.write_text("\n".join(log_lines(engine)))
    return path


def csv_of(rows, path, header="P,B,KV,Q,ms"):
    text = "\n".join(",".join(map(str, row)) for row in rows)
    path.write_text(f"{header}\n{text}\n")
    return path


class TestLog:
    def test_finds_the_clock_that_timed_the_steps(self, log, engine):
        found = js.calibrate.fit_log(log)
        np.testing.assert_allclose(coefficients(found.clock), list(CLOCK.values()), rtol=0.01)
        assert found.kv_capacity == CAPACITY
        assert found.seen.mean < 0.002
        assert found.unseen.mean < 0.003
        used = found.measured_ms.size
        assert 500 < used < len(engine)
        assert found.notes == (
            f"left out {len(engine) - used} steps of {len(engine)} whose chunks or time are not "
            "known",
        )

    def test_the_box_is_the_most_of_any_step(self, log, engine):
        box = js.calibrate.fit_log(log).clock.box
        assert BUDGET * 0.9 < box.prefill_tokens <= BUDGET
        assert box.decoding_requests == pytest.approx(max(step[1] for step in engine), abs=1)
        assert box.kv_tokens == pytest.approx(max(step[2] for step in engine), rel=0.06)

    def test_reads_gzip_other_lines_and_several_engines(self, engine, tmp_path):
        path = tmp_path / "engine.log.gz"
        first = list(log_lines(engine, "INFO [loggers.py:199] Engine 000: "))
        second = list(log_lines(steps(seed=1), "INFO [loggers.py:199] Engine 001: "))[1:]
        mixed = [line for pair in zip(first, ["INFO other \xff", *second]) for line in pair]  # noqa: B905
        dummy = mixed[2].replace(" ms", " ms (dummy)")
        path.write_bytes(gzip.compress("\n".join([*mixed, dummy]).encode("latin-1")))
        found = js.calibrate.fit_log(path)
        np.testing.assert_allclose(coefficients(found.clock), list(CLOCK.values()), rtol=0.01)

    def test_steps_that_compute_again_are_left_out(self, engine, tmp_path):
        """An evicted request counts as generation with all its tokens."""
        lines = list(log_lines(engine))
        clean = tmp_path / "clean.log"
        clean.write_text("\n".join(lines))
        place = next(i for i, step in enumerate(engine) if i > 100 and not step[0])
        b = engine[place][1]
        lines[place + 1] = lines[place + 1].replace(f"{b} generation t", f"{b + 300} generation t")
        path = tmp_path / "evicted.log"
        path.write_text("\n".join(lines))
        fewer = js.calibrate.fit_log(path).measured_ms.size
        assert fewer < js.calibrate.fit_log(clean).measured_ms.size

    @pytest.mark.parametrize("num_pairs", [20, 90])
    def test_prompts_that_begin_together_do_not_bias_squares(self, tmp_path, num_pairs):
        """A line says only their sum; here one prompt of each pair is nine times the other."""
        alone = [(p,) for p in np.random.default_rng(0).integers(8, 400, 80)]
        together = [(p, 9 * p) for p in np.random.default_rng(1).integers(2, 40, num_pairs)]
        rows = [
            (
                sum(each),
                0,
                0,
                0,
                len(each),
                0.0,
                6 + 0.02 * sum(each) + 1e-4 * sum(p**2 for p in each),
            )
            for each in [(500,), (8,), *alone, *together]
        ]
        path = tmp_path / "engine.log"
        path.write_text("\n".join(log_lines(rows)))
        found = js.calibrate.fit_log(path)
        is_guess = "taken as equal parts" in " ".join(found.notes)
        assert is_guess == (num_pairs > 80)
        assert found.measured_ms.size == (80 + num_pairs if is_guess else 80)  # not the first two
        error = coefficients(found.clock)[4] / 1e-4 - 1
        assert abs(error) > 0.02 if is_guess else abs(error) < 0.002

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda text: text.replace("GPU KV cache size", "size"), "kv_capacity is missing"),
            (lambda text: text.replace(", GPU KV cache usage", "%"), "do not say .GPU KV cache us"),
            (lambda text: re.sub(r"time: \S+", "time: 0.03", text), "--no-async-scheduling"),
            (lambda text: text.replace("Iteration(", "Step("), "has no column|is no CSV|fields"),
            (
                lambda text: re.sub(r"n\(\d+", "n(7", text),
                "30 steps, and of none is the work known",
            ),
        ],
    )
    def test_says_what_a_log_lacks(self, engine, tmp_path, change, message):
        path = tmp_path / "engine.log"
        path.write_text(change("\n".join(log_lines(engine[:30]))))
        with pytest.raises(ValueError, match=message) as caught:
            js.calibrate.fit_log(path)
        assert str(path) in str(caught.value)

    def test_a_damaged_file_is_named(self, log):
        whole = gzip.compress(log.read_bytes())
        for damaged in (whole[: len(whole) // 2], whole[:400] + bytes(300) + whole[700:]):
            log.write_bytes(damaged)
            with pytest.raises(ValueError, match=f"{log}: is a damaged gzip file"):
                js.calibrate.fit_log(log, kv_capacity=1)

    def test_a_capacity_can_be_given(self, engine, tmp_path):
        path = tmp_path / "engine.log"
        path.write_text("\n".join(list(log_lines(engine))[1:]))
        found = js.calibrate.fit_log(path, kv_capacity=CAPACITY, block_size=BLOCK)
        assert found.kv_capacity == CAPACITY
        with pytest.raises(ValueError, match="kv_capacity is 0; expected an integer >= 1"):
            js.calibrate.fit_log(path, kv_capacity=0)


class TestSteps:
    def test_exact_steps_give_the_exact_clock(self, engine, tmp_path):
        rows = [(*step[:4], step[-1]) for step in engine]
        found = js.calibrate.fit_log(csv_of(rows, tmp_path / "steps.csv"))
        np.testing.assert_allclose(coefficients(found.clock), list(CLOCK.values()), rtol=1e-6)
        assert found.measured_ms.size == len(engine)
        assert found.notes == ()

    def test_what_serve_records_can_be_read(self, engine, tmp_path):
        now, rows = 0.0, []
        for p, b, kv, *_, ms in engine:
            rows.append((now, now + ms / 1000, p, b, kv))
            now += ms / 1000
        header = "step_clock,step_end,step_P,step_B,step_KV"
        found = js.calibrate.fit_log(csv_of(rows, tmp_path / "steps.csv", header))
        assert coefficients(found.clock)[4] == 0.0
        assert coefficients(found.clock)[0] == pytest.approx(6.0, rel=0.02)

    def test_standard_errors_are_those_of_least_squares(self, engine, tmp_path):
        rng = np.random.default_rng(0)
        work = np.array([step[:4] for step in engine], np.float64)
        ms = np.array([step[-1] for step in engine]) * rng.normal(1, 0.02, len(engine))
        found = js.calibrate.fit_log(csv_of(np.column_stack([work, ms]), tmp_path / "steps.csv"))
        relative = np.column_stack([np.ones(len(ms)), work]) / ms[:, None]
        residual = relative @ coefficients(found.clock) - 1
        variance = residual @ residual / (len(ms) - 5) * np.linalg.inv(relative.T @ relative)
        errors = [found.standard_errors[name] for name in NAMES]
        np.testing.assert_allclose(errors, np.sqrt(np.diag(variance)), rtol=1e-6)
        off = np.array(coefficients(found.clock)) - list(CLOCK.values())
        assert (np.abs(off) < 3 * np.array(errors)).all()

    def test_what_rows_do_not_tell_has_no_standard_error(self, engine, tmp_path):
        rows = [(p, b, 300 * b, 0, 6 + 0.02 * p + 0.01 * b) for p, b, *_ in engine]
        found = js.calibrate.fit_log(csv_of(rows, tmp_path / "steps.csv"))
        assert np.isnan(found.standard_errors["attention_ms_per_squared_token"])
        assert np.isnan(found.standard_errors["kv_ms_per_token"])  # held tokens are requests
        assert found.to_dict()["standard_errors"]["kv_ms_per_token"] is None
        assert re.search(r"squared token +0 +-$", str(found), re.MULTILINE)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("P,B,ms\n1,2,3\n", "has no column kv_tokens.*columns present: P, B, ms"),
            ("P,B,KV,ms\n1,2,3,0\n", r"ms\[0\] is 0.0; expected a time above 0"),
            ("P,B,KV,ms\n1,2,x,4\n", r"KV\[0\] is 'x'; expected a number"),
            ("P,B,KV,ms\n1,-2,3,4\n", r"B\[0\] is -2.0; expected a finite number >= 0"),
            ("P,B,KV,ms\n1,2,3\n", "row 2 has 3 fields; expected 4"),
            ("P,B,KV,ms,p\n1,2,3,4,5\n", "P and p; leave one"),
            ("P,B,KV,ms\n", "has no rows below a header"),
            ("", "has no rows below a header"),
        ],
    )
    def test_a_bad_table_is_named(self, tmp_path, text, message):
        path = tmp_path / "steps.csv"
        path.write_text(text)
        with pytest.raises(ValueError, match=message) as caught:
            js.calibrate.fit_log(path)
        assert str(caught.value).startswith(str(path))

    def test_finds_the_free_region_of_a_hinge(self, engine, tmp_path):
        rows = [
            (p, b, kv, q, 6 + 0.03 * max(p + b - 96, 0) + 0.02 * b + 1e-4 * kv + 4e-7 * q)
            for p, b, kv, q, *_ in engine
        ]
        found = js.calibrate.fit_log(csv_of(rows, tmp_path / "steps.csv"))
        hinge = found.alternatives["hinge"]
        assert hinge.coefficients["T0"] == 96
        assert hinge.coefficients["b"] == pytest.approx(0.03, rel=1e-6)
        assert hinge.seen.mean < 1e-8 < 0.005 < found.seen.mean

    def test_finds_a_term_that_is_concave_in_requests(self, engine, tmp_path):
        rows = [
            (p, b, kv, q, 6 + 0.02 * p + 2 * b**0.5 + 1e-4 * kv + 4e-7 * q)
            for p, b, kv, q, *_ in engine
        ]
        found = js.calibrate.fit_log(csv_of(rows, tmp_path / "steps.csv"))
        concave = found.alternatives["concave"]
        assert concave.coefficients["f"] == pytest.approx(2.0, rel=1e-6)
        assert concave.seen.mean < 1e-8 < 0.005 < found.seen.mean

    def test_no_coefficient_is_negative(self, engine, tmp_path):
        rows = [(p, b, kv, q, 60 - 0.5 * b) for p, b, kv, q, *_ in engine]
        assert min(coefficients(js.calibrate.fit_log(csv_of(rows, tmp_path / "s")).clock)) == 0.0

    def test_few_shapes_are_warned_of(self, tmp_path):
        path = csv_of([(0, b, 100 * b, 0, 6 + b) for b in (2, 3, 2)], tmp_path / "steps.csv")
        with pytest.warns(UserWarning, match="rests on 1 of the at least 6 shapes"):
            found = js.calibrate.fit_log(path)
        assert found.unseen is None
        assert FEW in str(found)


def bench(shapes, concurrencies=(1, 4, 16, 64), h=3.0):
    """Times of closed loops by the formula, where budgets of 8192 are not exceeded."""
    a, b, c, d, e = CLOCK.values()
    s, o, n = np.array([(*shape, k) for shape, k in itertools.product(shapes, concurrencies)]).T
    decoding = 1 + (n - 1) * (o - 1) / o
    tpot = a + b * (n - 1) * s / o + c * decoding + d * decoding * (s + o / 2)
    tpot += e * (n - 1) * s**2 / o
    ttft = np.where(n == 1, h + a * np.ceil(s / 8192) + b * s + e * s**2, 999.0)
    return {"isl": s, "osl": o, "max_concurrency": n, "mean_tpot_ms": tpot, "ttft_ms": ttft}


SHAPES = [(100, 200), (400, 100), (1000, 500), (2000, 300), (300, 900), (9000, 1000), (150, 60)]


class TestBench:
    def test_finds_the_clock_and_the_time_outside_of_steps(self):
        found = js.calibrate.fit_bench(bench(SHAPES), max_num_batched_tokens=8192)
        np.testing.assert_allclose(coefficients(found.clock), list(CLOCK.values()), rtol=1e-6)
        assert found.host_ms == pytest.approx(3.0, rel=1e-6)
        assert found.num_shapes == len(SHAPES)
        assert found.unseen.largest < 1e-6
        assert found.clock.box == (8192, 64, 64 * 9500)

    def test_without_first_tokens_squares_are_not_told(self):
        table = {key: values for key, values in bench(SHAPES).items() if key != "ttft_ms"}
        found = js.calibrate.fit_bench(table, max_num_batched_tokens=8192)
        assert found.host_ms is None
        assert coefficients(found.clock)[4] == 0.0
        assert "cost of squared prompt tokens is taken as 0" in str(found)

    def test_reads_a_file_and_a_pandas_table(self, tmp_path):
        pd = pytest.importorskip("pandas")
        frame = pd.DataFrame(bench(SHAPES))
        frame.to_csv(tmp_path / "bench.csv", index=False)
        of_frame = js.calibrate.fit_bench(frame, max_num_batched_tokens=8192)
        of_file = js.calibrate.fit_bench(tmp_path / "bench.csv", max_num_batched_tokens=8192)
        np.testing.assert_allclose(coefficients(of_file.clock), coefficients(of_frame.clock))
        assert of_file.source == "bench.csv"

    def test_rows_beyond_the_budget_are_left_out(self):
        table = bench([*SHAPES, (8000, 50)])
        found = js.calibrate.fit_bench(table, max_num_batched_tokens=8192)
        assert "left out 1 row whose prompts need more than the token budget" in found.notes
        np.testing.assert_allclose(coefficients(found.clock), list(CLOCK.values()), rtol=1e-6)
        busy = {key: values[-1:] for key, values in table.items()}
        with pytest.raises(ValueError, match="max_num_batched_tokens is 2048, and the prompts of"):
            js.calibrate.fit_bench(busy)

    def test_few_shapes_are_warned_of(self):
        with pytest.warns(UserWarning, match="rests on 2 of the at least 6 shapes"):
            js.calibrate.fit_bench(bench(SHAPES[:2]))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"isl": None}, "prompt_tokens is missing; expected prompt_tokens, output_tokens"),
            ({"osl": [1] * 28}, r"output_tokens\[0\] is 1.0; expected a number >= 2"),
            ({"mean_tpot_ms": [0] * 28}, r"tpot_ms\[0\] is 0.0; expected a number above 0"),
            ({"max_concurrency": [4]}, "expected as many rows in each"),
            ({"osl": ["many"] * 28}, r"osl\[0\] is 'many'; expected a number"),
        ],
    )
    def test_a_bad_table_is_named(self, change, message):
        table = {k: v for k, v in {**bench(SHAPES), **change}.items() if v is not None}
        with pytest.raises(ValueError, match=message):
            js.calibrate.fit_bench(table)

    @pytest.mark.slow
    def test_finds_what_closed_loops_of_the_engine_take(self):
        """As soon as a request ends, the next of its client begins: a queue with so many seats."""
        server = js.servers.get("llama3.1_8b_h100")
        shapes = [(128, 256), (512, 512), (1024, 128), (1024, 512), (2048, 256), (256, 640)]
        cases = np.array([(*shape, k) for shape, k in itertools.product(shapes, (1, 4, 16))])
        s, o, clients = cases.T
        reqs = js.Requests.from_arrays(
            np.zeros((len(s), 96)), s[:, None].repeat(96, 1), o[:, None].repeat(96, 1)
        ).replace(is_real=np.arange(96) < 6 * clients[:, None])
        out = js.serve(reqs, server.replace(max_num_seqs=clients, kv_capacity=2**24))
        tpot = np.nanmean((out.completion - out.first_token) / (o[:, None] - 1), axis=-1)
        table = {"isl": s, "osl": o, "concurrency": clients, "num_prompts": 6 * clients}
        found = js.calibrate.fit_bench({**table, "tpot_ms": 1000 * tpot})
        assert found.unseen.mean < 0.02
        assert float(found.clock.iteration_ms) == pytest.approx(5.897, rel=0.02)


class TestKept:
    def test_a_file_keeps_clock_box_and_capacity(self, log, tmp_path):
        found = js.calibrate.fit_log(log)
        found.save(tmp_path / "mine.json")
        server = js.servers.load(tmp_path / "mine.json")
        assert coefficients(server.clock) == coefficients(found.clock)
        assert server.clock.box == found.clock.box
        assert server.kv_capacity == CAPACITY
        assert js.servers.get(tmp_path / "mine.json").clock.box == found.clock.box
        assert js.servers.get(str(tmp_path / "mine.json")).kv_capacity == CAPACITY
        found.save(tmp_path / "mine.json", kv_capacity=99)
        assert js.servers.load(tmp_path / "mine.json").kv_capacity == 99
        assert js.servers.load(tmp_path / "mine.json", kv_capacity=7).kv_capacity == 7

    def test_the_numbers_are_json(self, log):
        found = js.calibrate.fit_log(log)
        written = json.loads(json.dumps(found.to_dict(), allow_nan=False))
        assert written["num_rows"] == found.measured_ms.size
        assert written["unseen"]["mean"] == found.unseen.mean
        assert set(written["alternatives"]) == {"hinge", "concave"}

    def test_a_file_may_leave_the_capacity_open(self, tmp_path):
        js.servers.save(tmp_path / "mine.json", js.servers.get("qwen3_8b_h100").clock)
        server = js.servers.get(tmp_path / "mine.json")
        assert server.kv_capacity is None
        assert server.clock.box is None

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"kind": "other"}, "is no server"),
            ({"clock": {"iteration_ms": 1}}, "clock is .*; expected iteration_ms, prefill"),
            ({"clock": 3}, "clock is 3; expected iteration_ms"),
            ({"box": [1, 2, 3]}, "box is .*; expected prefill_tokens"),
            ({"kv_capacity": 1.5}, "kv_capacity is 1.5; expected an integer >= 1"),
            ({"clock": dict.fromkeys(NAMES, -1)}, "iteration_ms of the clock is -1; expected"),
            ({"clock": dict.fromkeys(NAMES, True)}, "iteration_ms of the clock is True; expected"),
            ({"clock": dict.fromkeys(NAMES, float("nan"))}, "iteration_ms of the clock is nan"),
        ],
    )
    def test_a_damaged_file_is_named(self, tmp_path, change, message):
        path = tmp_path / "mine.json"
        js.servers.save(path, js.servers.get("qwen3_8b_h100").clock, 1000)
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        with pytest.raises(ValueError, match=message) as caught:
            js.servers.load(path)
        assert str(caught.value).startswith(str(path))

    @pytest.mark.parametrize("content", [b"", b"\xff\x00", b"[" * 200_000, b"[]", b" " * 2**21])
    def test_what_is_no_server_file_is_refused(self, tmp_path, content):
        (tmp_path / "mine.json").write_bytes(content)
        with pytest.raises(ValueError, match=r"mine.json: is (no server|not JSON)"):
            js.servers.load(tmp_path / "mine.json")

    def test_other_names_of_files_are_refused(self, tmp_path):
        with pytest.raises(ValueError, match=r"expected a name that ends in \.json"):
            js.servers.save(tmp_path / "mine.txt", js.servers.get("qwen3_8b_h100").clock)
