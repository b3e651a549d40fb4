"""From a log to a decision, and the page that shows it."""

import base64
import contextlib
import dataclasses
import html
import io
import json
import math
import re

import numpy as np
import pytest

import jaxsched as js
from jaxsched.cli import main
from jaxsched.studies.decisions.runs import cut

RULES = ["fcfs", "shortest_prompt"]
TARGETS = {"ttft_slo_s": 0.05, "tpot_slo_s": 0.05}
VARY = {"max_num_seqs": [2, 8]}

# One decision serves a log many times over: dear, and the notebook makes another.
pytestmark = pytest.mark.slow


def log(count=160):
    generator = np.random.default_rng(0)
    return js.Requests.from_arrays(
        np.append(0, generator.exponential(0.1, count - 1).cumsum()),
        generator.integers(20, 900, count),
        generator.integers(2, 40, count),
    )


@pytest.fixture(scope="module")
def known():
    return js.servers.info("llama3.1_8b_h100")


@pytest.fixture(scope="module")
def decision(known):
    server = known.server.replace(max_num_seqs=2)
    return js.decide(
        log(), server, RULES, vary=VARY, num_runs=4, num_requests=20, known=known, **TARGETS
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Page, numbers and output of the command line for the same log."""
    folder = tmp_path_factory.mktemp("report")
    reqs, path = log(), folder / "<i>log & co.csv"
    columns = (reqs.arrival_s, reqs.prompt_tokens, reqs.output_tokens)
    rows = [",".join(map(str, row)) for row in np.transpose(columns).tolist()]
    path.write_text("\n".join(["arrived_at,num_prefill_tokens,num_decode_tokens", *rows, ""]))
    settings = folder / "args.json"
    settings.write_text('{"max_num_seqs": 2}')
    page, numbers = folder / "page.html", folder / "numbers.json"
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        code = main(
            [
                *("report", "--trace", str(path), "--server", "llama3.1_8b_h100"),
                *("--vllm", str(settings), "--vary", "max_num_seqs=2,8"),
                *("--targets", "ttft=50ms, TPOT=0.05 s", "--policies", ",".join(RULES)),
                *("--runs", "4", "--requests", "20"),
                *("--html", str(page), "--json", str(numbers)),
            ]
        )
    assert code == 0
    return page.read_text(), json.loads(numbers.read_text()), output.getvalue()


@pytest.fixture(scope="module")
def page(written):
    return written[0]


def test_runs_to_choose_by_and_to_check_on_share_no_request():
    reqs = log()
    halves = cut(reqs, 4, 20)
    assert [half.is_real.shape for half in halves] == [(4, 20)] * 2
    gaps = [np.diff(half.arrival_s).ravel() for half in halves]
    assert not np.intersect1d(*gaps).size
    assert (halves[0].arrival_s[:, 0] == 0).all()
    np.testing.assert_array_equal(halves[0].prompt_tokens[0], reqs.prompt_tokens[:20])
    np.testing.assert_array_equal(halves[1].prompt_tokens[-1], reqs.prompt_tokens[-20:])


def test_runs_of_a_short_log_are_shorter():
    assert cut(log(), 2, None)[0].is_real.shape == (2, 40)
    with pytest.raises(ValueError, match=r"has 160 requests, too few for 16 runs; .* at least 320"):
        cut(log(), 8, None)


def test_choices_are_those_of_the_plan_on_the_runs_to_choose_by(decision):
    reqs = log()
    predicted = reqs.output_tokens.astype(np.float32)  # the truth, so that nothing compiles anew
    choosing, checking = cut(reqs.replace(predicted_output_tokens=predicted), 4, 20)
    plan = js.plan_rate(
        choosing, decision.server, RULES, vary={"max_num_seqs": [2, 8]}, tolerance=0.02, **TARGETS
    )
    np.testing.assert_array_equal(decision.search.value, plan.value)
    limits = [each.rate.item() for each in plan.limits]
    rule, setting = np.unravel_index(np.fmin(plan.value, limits).argmax(), plan.value.shape)
    both = decision.choices["both"]
    assert (both.rule, both.setting) == (RULES[rule], plan.settings[setting])
    again = js.plan_rate(checking, decision.server, "fcfs", tolerance=0.02, **TARGETS)
    now = decision.choices["now"]
    assert now.rate == min(again.value[0, 0], again.limits[0].rate)
    assert now.interval.low == min(again.interval.low[0, 0], again.limits[0].rate)
    assert now.server.max_num_seqs == 2


def test_seats_help_and_the_easiest_change_is_taken(decision):
    settings = decision.choices["settings"]
    assert settings.setting == {"max_num_seqs": 8}
    assert settings.change["now"].low > 0
    assert decision.choices["now"].change["now"].mean == 0
    if settings.is_limited:
        assert settings.rate == settings.limit == settings.interval.high
    assert decision.best == "settings"
    assert repr(decision).endswith("best: settings)")


def test_nothing_is_recommended_where_nothing_changes(decision):
    now = decision.choices["now"]
    same = dataclasses.replace(decision, choices=dict.fromkeys(decision.choices, now))
    assert same.best == "now"
    assert "No setting and no order that were tried is better beyond chance." in str(same)


def test_load_has_the_rate_taken_now_and_every_line(decision):
    now = decision.choices["now"]
    assert list(decision.load)[:2] == RULES
    assert "fcfs, best settings" in decision.load
    for curve in decision.load.values():
        assert curve.place_of(now.rate) is not None
        assert curve.metrics["attainment"].shape == (8, 4)


def test_numbers_are_plain(decision):
    found = json.loads(json.dumps(decision.to_dict(), allow_nan=False))
    assert found["best"] == "settings"
    assert found["choices"]["now"]["rate"] == decision.choices["now"].rate
    assert found["traffic"]["num_requests"] == 160


def test_the_bound_is_below_what_is_reached(decision):
    now = decision.choices["now"]
    curve = decision.load["fcfs"]
    mean = curve.metrics["mean_e2e_s"][curve.place_of(now.rate)].mean()
    assert 0 < decision.least_latency_s < mean


def test_the_page_needs_nothing_from_elsewhere(page):
    assert "default-src 'none'" in page
    assert not re.search(r"https?:|//|<script|<link|<iframe|@import|url\(", without_pictures(page))
    sources = re.findall(r"(?:src|srcset)=\"([^\"]*)\"", page)
    assert len(sources) == 4
    for source in sources:
        head, _, data = source.partition(",")
        assert head == "data:image/svg+xml;base64"
        svg = base64.b64decode(data).decode()
        assert not re.search(r"(?:href|src)=\"(?!#)", svg)
        assert "<script" not in svg


def test_the_page_is_escaped(page):
    assert "&lt;i&gt;log &amp; co.csv" in page
    assert "<i>" not in page
    assert "Made by jaxsched " in page


def test_the_page_holds_the_figures_of_the_decision(page, decision):
    text = html.unescape(re.sub(r"<[^>]+>", " ", without_pictures(page)))
    for choice in decision.choices.values():
        assert f"{choice.rate:.3g}" in text
    for row in decision.search.value:
        for value in row:
            assert f"{value:.3g}" in text or value > max(
                each.rate for each in decision.search.limits
            )
    assert "7%, its largest 22%" in text
    assert "--max-num-seqs 8" in text
    assert "--scheduling-policy fcfs" in text
    assert f"{decision.traffic.gap_cv:.3g}" in text
    for line in str(decision).split("\n\n")[0].split(". "):
        assert line in text
    assert "Runs overlap" not in text
    assert "nan" not in text.lower().split()


def test_the_command_line_says_and_saves_the_same(written, decision):
    _, numbers, output = written
    assert output.startswith(str(decision).splitlines()[0])
    assert "report saved to " in output
    assert numbers.pop("manifest")["command"].startswith("jaxsched report --trace ")
    assert numbers == json.loads(json.dumps(decision.to_dict()))


def test_a_server_that_is_none_of_vllms_has_no_flags(decision, tmp_path):
    now = decision.choices["now"]
    other = now._replace(server=now.server.replace(admission="look_ahead"))
    changed = dataclasses.replace(decision, choices=decision.choices | {"now": other})
    changed.to_html(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "vLLM has no such server: admission is &#x27;look_ahead&#x27;" in text


def test_targets_that_nothing_meets_are_said(known):
    server = known.server.replace(max_num_seqs=2)
    found = js.decide(
        log(), server, RULES, vary=VARY, num_runs=4, num_requests=20, known=known, ttft_slo_s=1e-9
    )
    assert found.best == "now"
    assert math.isnan(found.least_latency_s)
    assert "misses the targets at every rate tried" in str(found)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ttft_slo_s": None, "tpot_slo_s": None}, "so there is no target"),
        ({"vary": {"seats": [1]}}, "no setting is called 'seats'"),
        ({"vary": {"max_num_seqs": "8"}}, "expected a list of values of max_num_seqs"),
        ({"num_runs": 0}, "num_runs is 0; expected an integer >= 1"),
        ({"num_requests": 161}, "num_requests is 161; expected an integer from 20 to 160"),
        ({"tolerance": 0}, "tolerance is 0; expected a finite number"),
    ],
)
def test_bad_arguments_are_named(known, changes, message):
    with pytest.raises(ValueError, match=message):
        js.decide(log(), known.server, **({"num_runs": 2} | TARGETS | changes))


def test_several_streams_are_no_log(known):
    reqs = cut(log(), 4, 20)[0]
    with pytest.raises(ValueError, match=r"reqs has shape .*; expected one stream"):
        js.decide(reqs, known.server, **TARGETS)


def without_pictures(page):
    return re.sub(r"data:image/svg\+xml;base64,[^\"]*", "", page)
