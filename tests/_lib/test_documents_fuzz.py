"""Thousands of damaged rules, sweeps and settings: only clear errors of bounded length."""

import copy
import json

import numpy as np
import pytest

import jaxsched as js
from jaxsched._lib.documents import PLAIN, Fields, read_toml
from jaxsched.studies.sweeps._grid import checked
from tests.studies.test_sweep_damage import GRID, TOML

pytestmark = pytest.mark.slow
TOKENS = b"true", b"null", b"[", b"{", b"1e999", b"-1", b'"', b"0" * 400, b"\xff\xfe", b"[]"
VALUES = None, True, -1, 0, 0.5, 10**400, "", "x", [], {}, [[1]], [None], {"name": 3}


def mutated(data, rng):
    """Change, drop, repeat or put in a few bytes."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        place, kind = int(rng.integers(len(data))), rng.integers(4)
        if kind == 0:
            data[place] = rng.integers(256)
        elif kind == 1:
            del data[place : place + int(rng.integers(1, 20))]
        elif kind == 2:
            data[place:place] = data[place : place + int(rng.integers(1, 40))]
        else:
            data[place:place] = TOKENS[rng.integers(len(TOKENS))]
        data = data or bytearray(b"0")
    return bytes(data)


def swapped(content, rng):
    """Put another value into one place of a document."""
    content = copy.deepcopy(content)
    inner, places = content, []
    while isinstance(inner, (dict, list)) and len(inner):
        names = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
        places.append((inner, names[rng.integers(len(names))]))
        inner = inner[places[-1][1]]
    table, name = places[rng.integers(len(places))]
    table[name] = VALUES[rng.integers(len(VALUES))]
    return content


def refusal(read):
    """Read; None, or what the refusal says. Any other error is a test that fails."""
    try:
        read()
    except ValueError as error:
        return str(error)
    return None


def num_refusals(path, read, contents):
    """Count refusals, each of which names the file and is short."""
    count = 0
    for content in contents:
        path.write_bytes(content)
        if (message := refusal(read)) is not None:
            count += 1
            assert len(message) < 1000, content
            assert path.name in message, content
    return count


def damaged(content, rng, count):
    """Make damaged files of a document, half by bytes and half by values."""
    text = json.dumps(content, indent=2).encode()
    yield from (mutated(text, rng) for _ in range(count))
    yield from (json.dumps(swapped(content, rng)).encode() for _ in range(count))


def test_rule_files(tmp_path):
    path = tmp_path / "rule.json"
    rule = js.policies.linear_score(["log_output", "log_prompt"], [0.1, 2.0])
    js.policies.save(rule, path, tuned_on={"source": "chat", "num_requests": [10, 20]})

    def read():
        js.policies.tuned_on(path)
        js.policies.load(path)

    contents = damaged(json.loads(path.read_text()), np.random.default_rng(0), 1000)
    assert 1000 < num_refusals(path, read, contents) < 2000


def test_settings_of_vllm(tmp_path):
    path = tmp_path / "settings.json"
    content = {"num_gpu_blocks": 1001, "block-size": 16, "max_num_seqs": 64, "watermark": 0.01}
    content |= {"policy": "fcfs", "enable_chunked_prefill": True, "max_num_active_seqs": 8}

    def read():
        js.Server.from_vllm(path)

    contents = damaged(content, np.random.default_rng(1), 1000)
    assert 1000 < num_refusals(path, read, contents) < 2000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return js.run_sweep(GRID, tmp_path_factory.mktemp("sweep"))


def test_manifests_of_sweeps(folder):
    path = folder / "manifest.json"
    text = path.read_bytes()

    def read():
        js.sweeps.is_finished(folder)

    contents = damaged(json.loads(text), np.random.default_rng(2), 1000)
    assert 500 < num_refusals(path, read, contents) < 2000
    path.write_bytes(text)


def test_parts_of_sweeps(folder):
    path = folder / "shard-000000.parquet"
    data, rng = path.read_bytes(), np.random.default_rng(3)

    def read():
        js.load_sweep(folder)

    assert num_refusals(path, read, [mutated(data, rng) for _ in range(300)]) > 200
    path.write_bytes(data)


def test_grids_of_sweeps(tmp_path):
    path, rng = tmp_path / "sweep.toml", np.random.default_rng(4)
    count = 0
    for _ in range(500):
        path.write_bytes(mutated(TOML.encode(), rng))
        grids = []
        message = refusal(lambda grids=grids: grids.append(read_toml(path, Fields(others=PLAIN))))
        message = message or refusal(lambda grids=grids: checked(grids[0]))
        message = message or refusal(lambda: checked(swapped(GRID, rng)))
        count += message is not None
        assert len(message or "") < 1000
    assert count > 250
