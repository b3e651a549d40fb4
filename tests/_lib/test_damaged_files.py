"""Thousands of damaged files of every kind: a result or one clear error, soon, in little memory."""

import bz2
import gzip
import io
import json
import lzma
import warnings
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

import jaxsched as js
from jaxsched.tuning import _checkpoint
from tests._lib.damage import any_of, bounded, mutated, read_or_refuse

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
CASES_OF_TEXT, CASES_OF_ARRAYS = 250, 400

CSV = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(
    f"2023-11-16 18:{15 + k // 60}:{k % 60:02d}.6805900,{374 + k},{44 + k}\n" for k in range(30)
)
SEMICOLONS = "# a log\narrived_at;num_prefill_tokens;num_decode_tokens\n" + "".join(
    f'{k * 0.5};"{1024 + k}";2K\n' for k in range(20)
)
TABS = "input_toks\toutput_toks\tarrival_time_ns\n" + "".join(
    f"{10 + k}\t70\t{k * 10**8}\n" for k in range(20)
)
RECORDS = [
    {"timestamp": 100 * k, "input_length": 10 + k, "output_length": 3, "hash_ids": [1, 2]}
    for k in range(12)
] + [{"delay": 3, "input_length": 9, "output_length": 4}]
NESTED = {
    "metadata": {"session_num": 0, "request_start_ns": 1758000000000000000},
    "metrics": {
        "input_sequence_length": {"value": 100, "unit": "tokens"},
        "output_sequence_length": {"value": 50, "unit": "tokens"},
    },
    "error": None,
}
BENCH = {
    "backend": "vllm",
    "input_lens": [100, 200],
    "output_lens": [50, 25],
    "start_times": [1.5, 2.5],
    "itls": [[0.1], []],
    "generated_texts": ['a"[{', "\u20ac"],
}
TEXTS = {
    "commas": CSV,
    "semicolons": SEMICOLONS,
    "tabs": TABS,
    "lines": "\n".join(map(json.dumps, RECORDS)),
    "nested": 3 * f"{json.dumps(NESTED)}\n",
    "bench": json.dumps(BENCH),
    "indented": json.dumps(BENCH, indent=2),
    "array": json.dumps(RECORDS, indent=1),
    "utf16": CSV.encode("utf-16"),
    "utf32": SEMICOLONS.encode("utf-32"),
}
TEXTS = {name: text if isinstance(text, bytes) else text.encode() for name, text in TEXTS.items()}


def stream(path):
    rate = {} if js.traces.has_arrival_times(path) else {"rate": 2.0, "key": KEY}
    return js.traces.load_requests(path, sort=True, drop_invalid=True, **rate)


def sample(path):
    return js.traces.load(path, 2**20, num_requests=2, batch=2, key=KEY, drop_invalid=True)


READERS = [
    js.traces.read,
    lambda path: js.traces.read(path, since=1, until="9s"),
    lambda path: js.traces.load(path, 2**20, drop_invalid=True),
    sample,
    stream,
]


def zipped(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("trace.csv", content)
    return file.getvalue()


def zstd(content):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as file:
        file.write(content)
    return sink.getvalue().to_pybytes()


PACKINGS = {
    "gzip": lambda content: gzip.compress(content, mtime=0),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zip": zipped,
    "zstd": zstd,
}


def tries(seed, path, contents):
    """Read damaged traces every way; how many could be read all the same."""
    rng, good = np.random.default_rng(seed), 0
    with bounded(), warnings.catch_warnings():
        warnings.simplefilter("ignore", js.traces.TraceWarning)
        for content in contents(rng):
            good += read_or_refuse(path, content, any_of(rng, READERS))
    return good


@pytest.mark.parametrize("name", TEXTS)
def test_traces_of_text(tmp_path, name):
    def contents(rng):
        for _ in range(CASES_OF_TEXT):
            yield mutated(rng, TEXTS[name], list(TEXTS.values()))

    good = tries(list(TEXTS).index(name), tmp_path / "trace", contents)
    assert 0 < good < CASES_OF_TEXT


@pytest.mark.parametrize("name", PACKINGS)
def test_compressed_traces(tmp_path, name):
    def contents(rng):
        for _ in range(CASES_OF_TEXT // 2):
            text = any_of(rng, list(TEXTS.values()))
            yield mutated(rng, PACKINGS[name](text), list(TEXTS.values()))
            yield PACKINGS[name](mutated(rng, text, list(TEXTS.values())))

    assert 0 < tries(100 + list(PACKINGS).index(name), tmp_path / "trace", contents) < CASES_OF_TEXT


@pytest.mark.parametrize(
    "options",
    [{}, {"compression": "zstd"}, {"compression": None, "use_dictionary": False}],
    ids=["snappy", "zstd", "plain"],
)
def test_parquet(tmp_path, options):
    file, n = io.BytesIO(), 50
    at = np.datetime64("2024-05-10T00:00:00", "ns") + np.arange(n) * np.timedelta64(1, "s")
    columns = {"TIMESTAMP": at, "ContextTokens": np.arange(n) + 5}
    columns |= {"GeneratedTokens": [str(k + 1) for k in range(n)], "tags": [["a"]] * n}
    parquet.write_table(pa.table(columns), file, **options)

    def contents(rng):
        for _ in range(CASES_OF_TEXT):
            yield mutated(rng, file.getvalue(), [file.getvalue()])

    assert 0 < tries(200, tmp_path / "trace", contents) < CASES_OF_TEXT


INST = js.stack(
    [
        js.Instance.from_lengths([3, 1, 5], [2, 4, 1], kv_capacity=8),
        js.Instance.from_lengths([7], [2], kv_capacity=9),
    ]
)
REQS = js.Requests.from_arrays(
    *([0.0, 0.5, 2.0], [300, 20, 5], [40, 100, 6]),
    predicted_output_tokens=[30, 0, 2.5],
    priority=[1, 0, 2],
    client=[0, 1, 0],
    ttft_slo_s=0.5,
)
STATE = {"step": np.int64(3), "weights": np.arange(4.0, dtype=np.float32), "seen": np.arange(6)}


def checkpoint(path):
    like = STATE | {"seen": np.empty(0, int)}
    return _checkpoint.load(path.parent, "a run", like)


ARRAYS = {
    "instance.npz": (INST.save, js.Instance.load),
    "schedule.npz": (js.simulate(INST, jnp.zeros((2, 3))).save, js.Schedule.load),
    "requests.npz": (REQS.save, js.Requests.load),
    "rule.npz": (
        lambda path: js.policies.save(
            js.policies.linear_score(["log_output", "log_prompt"], [0.1, 0.2]), path
        ),
        js.policies.load,
    ),
    "network.npz": (
        lambda path: js.policies.save(js.policies.mlp_score(hidden=3), path),
        js.policies.load,
    ),
    "tuning.npz": (lambda path: _checkpoint.save(path.parent, "a run", STATE), checkpoint),
}


def repacked(rng, content, others):
    """An intact archive of which a member is damaged, renamed, left out or there twice."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    at = int(rng.integers(len(members)))
    name, data = members[at]
    match int(rng.choice(5, p=[0.6, 0.1, 0.1, 0.1, 0.1])):
        case 0:
            members[at] = name, mutated(rng, data, [each for _, each in members])
        case 1:
            members[at] = any_of(rng, members)[0], data
        case 2:
            del members[at]
        case 3:
            members.append(any_of(rng, members))
        case 4:
            members[at] = name, any_of(rng, others)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a name is there twice
        for each in members:
            archive.writestr(*each)
    return file.getvalue()


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(tmp_path, name):
    path = tmp_path / name
    save, load = ARRAYS[name]
    save(path)
    content, rng, good = path.read_bytes(), np.random.default_rng(300), 0
    with bounded():
        for case in range(CASES_OF_ARRAYS):
            change = repacked if case % 2 else mutated
            good += read_or_refuse(path, change(rng, content, [content, *TEXTS.values()]), load)
    assert 0 < good < CASES_OF_ARRAYS
