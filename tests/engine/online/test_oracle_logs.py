"""The online oracle against what other schedulers decided, and what notices a wrong rule."""

import csv
import gzip
from dataclasses import asdict
from types import ModuleType

import numpy as np
import pytest

from tests.engine.online import stored_logs, vllm_logs
from tests.reference import online, online_rules
from tests.reference.online_settings import Settings


def differing_columns(log, columns):
    return [
        name
        for name, expected in columns.items()
        if not np.array_equal(expected, np.asarray(getattr(log, name)))
    ]


@pytest.mark.parametrize("name", vllm_logs.NAMES)
def test_every_column_equals_the_log_of_vllm(vllm_logs_dir, name):
    scenario, columns = vllm_logs.load(vllm_logs_dir / f"{name}.npz")
    log = scenario.log()
    assert log.status == "ok"
    assert len(columns) == 28
    assert differing_columns(log, columns) == []


def test_every_request_equals_aisimulate_to_the_microsecond(ais_parity_dir):
    with gzip.open(ais_parity_dir / "ais_parity_azure3000.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    column = {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}
    log = online.serve(
        column["arrival_ms"] / 1e3,
        column["prompt_tokens"],
        column["output_tokens"],
        Settings(num_gpu_blocks=3001),
        clock=lambda P, B, KV, A: 0.020 * (P > 0) + 0.008 * (B > 0),
        max_steps=100_000,
    )
    assert log.status == "ok"
    assert log.out_preemptions == column["readmissions"].tolist()
    for times, expected_ms in (
        (log.out_first_token_time, column["first_token_ms"]),
        (log.out_finish_time, column["last_token_ms"]),
    ):
        np.testing.assert_allclose(np.array(times) * 1e3, expected_ms, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", stored_logs.CASES)
def test_the_oracle_equals_the_stored_log(name):
    path = stored_logs.FOLDER / f"{name}.json"
    assert path.read_text() == stored_logs.text_of(stored_logs.scenario_of(name))
    scenario, log = stored_logs.load(path)
    np.testing.assert_equal(asdict(scenario.log()), asdict(log))


@pytest.mark.parametrize(
    ("name", "setting"),
    [(name, setting) for name, case in stored_logs.CASES.items() for setting in case],
)
def test_a_stored_log_depends_on_each_setting_it_is_about(name, setting):
    plain = asdict(Settings(**stored_logs.BASE))[setting]
    log = stored_logs.scenario_of(name).log()
    other = stored_logs.scenario_of(name, **{setting: plain}).log()
    assert (other.ent_req, other.step_end) != (log.ent_req, log.step_end)


# One rule wrong at a time: a module, text in it, and what to put there instead.
MUTATIONS = {
    "a long prefill is cut also when alone": (online, "if crowd > 1 else 0", "if crowd else 0"),
    "the adaptive threshold forgets the waiting": (
        online,
        "max_num_batched_tokens // crowd",
        "max_num_batched_tokens // max(len(self.running), 1)",
    ),
    "chunks come when chunking is off": (
        online,
        "if tokens > self.budget and not",
        "if False and not",
    ),
    "one more may run": (online, "len(self.running) < self", "len(self.running) <= self"),
    "admissions follow evictions": (
        online,
        "bool(self.evicted) or self.lacks_blocks",
        "self.lacks_blocks",
    ),
    "the evicted go to the back": (online, "self.waiting.appendleft(r)", "self.waiting.append(r)"),
    "a victim's tokens are not returned": (
        online,
        "self.budget += self.grants.pop(r, 0)",
        "self.grants.pop(r, 0)",
    ),
    "a victim leaves the pass one too far": (
        online,
        "i -= self.running.index(victim) < i",
        "self.running.index(victim)",
    ),
    "evicting itself ends the pass": (online, "continue  # the next", "break  # the next"),
    "a decode takes its block a token early": (
        online,
        "blocks = self.blocks(self.computed[r] + tokens)",
        "blocks = min(self.blocks(self.computed[r] + tokens + 1), self.held[r] + self.free)",
    ),
    "the watermark holds when nothing runs": (
        online_rules,
        "extra = settings.watermark_blocks if running else 0",
        "extra = settings.watermark_blocks",
    ),
    "no whole-prompt check": (
        online_rules,
        "blocks(stream.known[r]) + extra <= stream.free",
        "True",
    ),
    "the oldest is evicted": (online_rules, "stream.running[-1]", "stream.running[0]"),
    "the last of equals is evicted": (
        online_rules,
        "max(stream.running",
        "max(reversed(stream.running)",
    ),
    "victims by priority alone": (
        online_rules,
        "(stream.priority[r], stream.arrival[r])",
        "stream.priority[r]",
    ),
}


def mutant_of(module, old, new):
    """``serve`` of the oracle with one text of ``module`` replaced."""
    with open(module.__file__) as file:
        source = file.read()
    assert source.count(old) == 1, f"{old!r} is not once in {module.__name__}"
    changed = ModuleType(module.__name__)
    exec(source.replace(old, new), changed.__dict__)
    if module is online:
        return changed.serve
    loop = mutant_of(online, "class Stream:", "class Stream:")
    loop.__globals__.update(fits=changed.fits, choose_victim=changed.choose_victim)
    return loop


def stored():
    for name in stored_logs.CASES:
        scenario, log = stored_logs.load(stored_logs.FOLDER / f"{name}.json")
        yield scenario, asdict(log)


def by_vllm(folder):
    for path in sorted(folder.glob("d*.npz"), key=lambda path: path.stat().st_size):
        yield vllm_logs.load(path)


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_stored_logs_notice_a_wrong_rule(mutation):
    assert is_noticed(mutant_of(*MUTATIONS[mutation]), stored())


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_logs_of_vllm_notice_a_wrong_rule(vllm_logs_dir, mutation):
    assert is_noticed(mutant_of(*MUTATIONS[mutation]), by_vllm(vllm_logs_dir))


def is_noticed(serve, logs):
    return any(
        list(columns["ent_req"]) != (log := scenario.log(serve)).ent_req
        or list(columns["ent_tok"]) != log.ent_tok
        for scenario, columns in logs
    )
