"""Files that compute priorities order requests as the rule does, without jax."""

import ast
import inspect
import re
import runpy
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js
from jaxsched.engine.contract import Observation

N = 4000
WHOLE = {
    "fcfs": "fcfs",
    "shortest_output": "shortest_output",
    "shortest_prompt": "shortest_prompt",
    "total_size": "total_size",
    "smallest_volume": "smallest_volume",
    "a_max": "a_max",
    "wraps": lambda inst: inst.prompt_tokens * 400_000 + inst.output_tokens,
    "clients": lambda inst: jnp.where(inst.client == 2, -1, inst.output_tokens // 7),
}
ARITHMETIC = {
    "volume": lambda inst: inst.volume,
    "aged_prompt": "aged_prompt",
    "aged_size": "aged_size",
    "aged_priority": "aged_priority",
    "earliest_deadline": "earliest_deadline",
    "own": lambda inst: inst.priority / 3 - inst.output_tokens.astype(jnp.float32),
}
OTHER = {
    "gamma_boost": "gamma_boost",
    "length_weighted": "length_weighted",
    "linear_score": js.policies.linear_score(weights=[0.3, -0.7, 1.1]),
    "mlp_score": js.policies.mlp_score(hidden=5, seed=3),
    "log_volume": lambda inst: -jnp.log(inst.volume) * jnp.sqrt(inst.kv_capacity / 7),
}
OTHERS = ("arrival_s", "priority", "client", "ttft_slo_s")
KV_CAPACITY = 100_000


def written(rule, path, engine="vllm", **options):
    """The function in the file, which imports no jax."""
    getattr(js.export, f"{engine}_priority")(rule, path, **options)
    text = path.read_text()
    assert "jaxsched" not in "".join(line for line in text.splitlines() if "import" in line)
    found = {}
    exec(compile(text, path, "exec"), found)
    return found["priority"]


def shown(prompt, output, arrival_s, seed=0):
    """Requests at a server as a rule sees them when they arrive."""
    n, rng = len(prompt), np.random.default_rng(seed)
    zero, none = jnp.zeros(n, jnp.int32), jnp.zeros(n, jnp.float32)
    return Observation(
        prompt_tokens=jnp.asarray(prompt, jnp.int32),
        output_tokens=jnp.asarray(output, jnp.int32),
        is_real=jnp.ones(n, bool),
        kv_capacity=jnp.int32(KV_CAPACITY),
        arrival_s=jnp.asarray(arrival_s, jnp.float32),
        priority=jnp.asarray(rng.integers(-2, 3, n), jnp.float32),
        client=jnp.asarray(rng.integers(0, 5, n), jnp.int32),
        ttft_slo_s=jnp.asarray(rng.choice([0.5, 2.0, np.inf], n), jnp.float32),
        tpot_slo_s=jnp.full(n, jnp.inf),
        now_s=jnp.float32(0),
        waited_s=none,
        generated_tokens=zero,
        computed_tokens=zero,
        is_running=jnp.zeros(n, bool),
    )


@pytest.fixture(scope="module")
def many():
    rng = np.random.default_rng(5)
    few = rng.integers(1, 9, (2, N // 4))  # of which many are alike
    wide = rng.integers(1, 30_000, (2, N - N // 4))
    prompt, output = np.concatenate([few, wide], axis=1)
    return shown(prompt, output, np.sort(rng.uniform(0, 500, N)))


def priorities(function, obs):
    columns = (obs.prompt_tokens, obs.output_tokens, *(getattr(obs, name) for name in OTHERS))
    rows = zip(*(np.asarray(column).tolist() for column in columns), strict=True)
    names = ["request_class" if name == "priority" else name for name in OTHERS]
    return np.array(
        [function(*row[:2], **dict(zip(names, row[2:], strict=True))) for row in rows],
        dtype=np.int64,
    )


def ranks(numbers):
    """Dense ranks: they hold the whole order, ties included."""
    return np.unique(numbers, return_inverse=True)[1]


def falls(numbers, order):
    """By how much numbers fall at most, in an order in which they should not."""
    numbers = numbers[order].astype(np.float64)
    return (np.maximum.accumulate(numbers) - numbers).max()


@pytest.mark.jax_defaults
@pytest.mark.parametrize("name", WHOLE)
def test_whole_numbers_give_the_same_order_ties_included(name, many, tmp_path):
    found = priorities(written(WHOLE[name], tmp_path / "p.py"), many)
    if name == "fcfs":
        assert (found == 0).all()
    else:
        numbers = np.asarray(js.prioritize(many, WHOLE[name]))
        np.testing.assert_array_equal(ranks(found), ranks(numbers))


@pytest.mark.jax_defaults
@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic_is_to_the_bit_operation_by_operation(name, many, tmp_path):
    rule = ARITHMETIC[name]
    found = priorities(written(rule, tmp_path / "p.py", kv_capacity=KV_CAPACITY), many)
    rule = js.policies.make(rule) if isinstance(rule, str) else rule
    np.testing.assert_array_equal(ranks(found), ranks(np.asarray(rule(many))))


@pytest.mark.jax_defaults
@pytest.mark.parametrize("name", [*ARITHMETIC, *OTHER])
def test_reals_give_the_same_order_but_for_rounding(name, many, tmp_path):
    rule = {**ARITHMETIC, **OTHER}[name]
    found = priorities(written(rule, tmp_path / "p.py", kv_capacity=KV_CAPACITY), many)
    numbers = np.asarray(js.prioritize(many, rule))
    finite = numbers[np.isfinite(numbers)]
    assert len(np.unique(found)) > N / 100
    least = falls(np.minimum(numbers, finite.max() + 1), np.lexsort((np.arange(N), found)))
    assert least <= 4e-6 * np.abs(finite).max()


@pytest.mark.slow
@pytest.mark.jax_defaults
@pytest.mark.parametrize("name", ["smallest_volume", "gamma_boost", "aged_prompt"])
def test_a_server_decides_the_same(name, tmp_path):
    """With the numbers of the file as requests' own priorities, outcomes are equal."""
    reqs = js.workloads.poisson(
        jax.random.key(0), js.workloads.mixed(jax.random.key(1), 120, 1, 4096), rate=40.0
    )
    server = js.Server(kv_capacity=6000, clock=js.servers.get("llama3_8b_a100").clock)
    one = jax.tree.map(lambda leaf: np.asarray(leaf)[0], reqs)
    function = written(name, tmp_path / "p.py")
    columns = (one.prompt_tokens, one.output_tokens, one.arrival_s)
    rows = zip(*map(np.ndarray.tolist, columns), strict=True)
    own = [function(s, o, arrival_s=at) for s, o, at in rows]
    named = js.serve(one, server, name)
    with_numbers = js.serve(one.replace(priority=np.array(own)), server, "priority")
    np.testing.assert_array_equal(named.completion_s, with_numbers.completion_s)
    assert (js.serve(one, server, "fcfs").completion_s != named.completion_s).any()


@pytest.mark.jax_defaults
@pytest.mark.parametrize(
    "rule",
    ["weighted_volume", js.policies.linear_score(["log_volume", "log_weight"], [1.0, -1.0])],
)
def test_weights_that_only_a_gateway_knows(rule, tmp_path):
    rng = np.random.default_rng(6)
    prompt, output = rng.integers(1, 2000, (2, 500))
    weight = rng.choice([0.5, 1.0, 8.0], 500)
    inst = js.Instance.from_lengths(prompt, output, kv_capacity=4000, weight=weight)
    function = written(rule, tmp_path / "p.py")
    rows = zip(prompt.tolist(), output.tolist(), weight.tolist(), strict=True)
    found = np.array([function(s, o, weight=w) for s, o, w in rows])
    numbers = np.asarray(js.prioritize(inst, rule))
    assert falls(numbers, np.argsort(found, kind="stable")) <= 4e-6 * np.abs(numbers).max()


def test_huge_volumes_are_exact(tmp_path):
    function = written("smallest_volume", tmp_path / "p.py")
    half = 2**30
    assert function(half, half - 1) == half * (half - 1) + (half - 1) * half // 2
    assert function(half, half - 1) < function(half + 1, half - 1) < 2**63


def test_predictions_are_taken_as_servers_take_them(tmp_path):
    function = written("shortest_output", tmp_path / "p.py")
    assert [function(5, each) for each in (0, 0.2, 3, 3.01, 1e12)] == [1, 1, 3, 4, 2**30]
    assert [function(5, each) for each in (np.inf, -np.inf)] == [2**30, 1]
    with pytest.raises(ValueError, match="predicted_output_tokens is NaN; expected a number >= 0"):
        function(5, np.nan)
    assert written("shortest_prompt", tmp_path / "p.py")(5, np.nan) == 5  # which reads none


@pytest.mark.jax_defaults
@pytest.mark.parametrize(
    ("rule", "reads"),
    [
        ("smallest_volume", []),
        ("gamma_boost", ["arrival_s"]),
        ("earliest_deadline", ["arrival_s", "ttft_slo_s"]),
        ("weighted_volume", ["weight"]),
    ],
)
def test_what_a_rule_reads_has_no_default(rule, reads, tmp_path):
    function = written(rule, tmp_path / "p.py")
    parameters = inspect.signature(function).parameters
    required = [name for name, each in parameters.items() if each.default is each.empty]
    assert required == ["prompt_tokens", "predicted_output_tokens", *reads]
    (example,) = re.findall(r'body\["priority"\] = (.*)', (tmp_path / "p.py").read_text())
    assert isinstance(eval(example, {"priority": function}), int)
    for name in reads:
        assert f"{name}=" in example
        with pytest.raises(TypeError, match="missing"):
            function(300, 40, **{each: 1.0 for each in reads if each != name})


@pytest.mark.parametrize("name", ["fine.py", "my-file.py", "import.py", "rule.txt"])
def test_the_first_lines_load_the_file_whatever_its_name(name, tmp_path, monkeypatch):
    function = written("smallest_volume", tmp_path / name)
    text = (tmp_path / name).read_text()
    names = {"runpy": runpy}
    doc = ast.get_docstring(ast.parse(text))
    (line,) = re.findall(r"^ *((?:from|priority =) .*)", doc, re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    exec(line, names)
    assert names["priority"](3, 4) == function(3, 4)
    assert written("smallest_volume", tmp_path / 'a"""b.py')(3, 4) == function(3, 4)


def test_sglang_serves_the_highest_first(tmp_path):
    lower = written("total_size", tmp_path / "v.py")
    higher = written("total_size", tmp_path / "s.py", "sglang")
    assert higher(3, 4) == -lower(3, 4)
    text = (tmp_path / "s.py").read_text()
    assert "--enable-priority-scheduling --disable-priority-preemption" in text


@pytest.mark.jax_defaults
def test_the_file_runs_by_itself(tmp_path):
    js.export.vllm_priority("gamma_boost", tmp_path / "boost.py")
    done = subprocess.run(
        [sys.executable, "-I", tmp_path / "boost.py"],
        input="300 40 1.5\n\n300, 40, 1.5\n9 9 0\n",
        capture_output=True,
        text=True,
        check=True,
    )
    first, again, other = map(int, done.stdout.split())
    assert first == again != other
    assert "vllm serve MODEL --scheduling-policy priority" in (tmp_path / "boost.py").read_text()


@pytest.mark.slow
@pytest.mark.jax_defaults
@pytest.mark.parametrize("name", ["smallest_volume", "total_size", "gamma_boost", "aged_size"])
def test_on_a_real_trace(name, tmp_path, data_dir):
    reqs = js.traces.load_requests(data_dir / "azure2023_conv.csv.gz", sort=True)
    obs = shown(reqs.prompt_tokens, reqs.output_tokens, reqs.arrival_s)
    found = priorities(written(name, tmp_path / "p.py"), obs)
    numbers = np.asarray(js.prioritize(obs, name))
    if numbers.dtype == np.int32:
        np.testing.assert_array_equal(ranks(found), ranks(numbers))
    order = np.lexsort((np.arange(len(found)), found))
    assert falls(numbers, order) <= 4e-6 * np.abs(numbers).max()


class TestRefusals:
    @pytest.mark.parametrize(
        ("rule", "finding"),
        [
            ("highest_response_ratio", "'highest_response_ratio' is dynamic"),
            ("sorted_f", "looks across requests"),
            ("improve", "is a host rule"),
            ("aged_shortest_first", "looks across requests"),
            (lambda inst: inst.prompt_tokens / inst.num_requests, "looks across requests"),
            (lambda inst: jax.lax.population_count(inst.prompt_tokens), "looks across"),
            (lambda inst: jax.lax.nextafter(inst.volume, inst.volume), "operation nextafter"),
        ],
    )
    def test_of_rules_that_no_single_request_can_answer(self, rule, finding, tmp_path):
        with pytest.raises(ValueError, match=finding) as caught:
            js.export.vllm_priority(rule, tmp_path / "p.py")
        assert "such as smallest_volume, gamma_boost" in str(caught.value)
        assert not list(tmp_path.iterdir())

    def test_of_a_rule_that_needs_the_capacity(self, tmp_path):
        with pytest.raises(ValueError, match="kv_capacity is missing; rule 'length_weighted'"):
            js.export.vllm_priority("length_weighted", tmp_path / "p.py")

    def test_of_a_capacity_that_is_none(self, tmp_path):
        with pytest.raises(ValueError, match="kv_capacity is 0; expected an integer >= 1"):
            js.export.sglang_priority("length_weighted", tmp_path / "p.py", kv_capacity=0)

    def test_of_no_number_in_the_file(self, tmp_path):
        rule = js.policies.linear_score(["log_prompt"], [1.0])
        function = written(lambda inst: jnp.log(-inst.volume), tmp_path / "p.py")
        with pytest.raises(ValueError, match="NaN"):
            function(3, 4)
        assert written(rule, tmp_path / "p.py")(1, 4) == 0


class TestSettings:
    @pytest.mark.parametrize(
        "server",
        [
            js.Server(kv_capacity=16_000),
            js.Server(
                kv_capacity=32_000,
                block_size=32,
                max_num_seqs=7,
                max_num_batched_tokens=512,
                max_model_len=4096,
                long_prefill_token_threshold=100,
                enable_chunked_prefill=False,
                watermark=0.02,
                prefill_schedule_interval=4,
                policy="priority",
                admission="chunk",
            ),
        ],
    )
    def test_come_back(self, server):
        arguments = js.export.vllm_arguments(server)
        flags = js.export.vllm_flags(arguments)
        assert f"--max-num-seqs {server.max_num_seqs}" in flags
        off = not server.enable_chunked_prefill
        assert f"--{'no-' * off}enable-chunked-prefill" in flags
        assert repr(js.Server.from_vllm(**arguments)) == repr(server)

    @pytest.mark.parametrize(
        ("server", "finding"),
        [
            (js.Server(kv_capacity=9, admission="peak"), "admission is 'peak'; vLLM has no such"),
            (js.Server(kv_capacity=9, victim="most_memory"), "victim is 'most_memory'"),
            (js.Server(kv_capacity=np.array([9, 8])), "kv_capacity is an array"),
            (js.Server(kv_capacity=9, max_num_seqs=None), "max_num_seqs is None"),
        ],
    )
    def test_that_vllm_has_not_are_refused(self, server, finding):
        with pytest.raises(ValueError, match=finding):
            js.export.vllm_arguments(server)
