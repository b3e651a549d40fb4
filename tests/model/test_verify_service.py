"""The judge of recorded runs notices what is changed in them."""

import numpy as np
import pytest

import jaxsched as js
from jaxsched.model.service.log import ServiceLog
from tests.engine.online import stored_logs
from tests.engine.online.outcomes import columns_of, outcome_of, requests_of, server_of
from tests.engine.online.stored_logs import scenario_of


def parts(scenario, log=None):
    log = scenario.log() if log is None else log
    out = outcome_of(scenario, log)
    return requests_of(scenario), server_of(scenario), out, columns_of(log)


def verdict_of(scenario, **changed):
    reqs, server, out, columns = parts(scenario)
    return js.verify_service(reqs, server, out, columns | changed)


def without(columns, table, at):
    """Drop a row of a table."""
    names = [name for name in columns if name.startswith(f"{table}_")]
    return {name: np.delete(columns[name], at) for name in names}


def step_of_entry(columns, at):
    return int(np.searchsorted(np.cumsum(columns["step_entries"]), at, side="right"))


def changed(columns, name, at, by):
    values = columns[name].copy()
    values[at] = values[at] + by
    return {name: values}


def drop_a_grant(columns, rng):
    at = rng.integers(columns["ent_req"].size)
    step = step_of_entry(columns, at)
    return without(columns, "ent", at) | changed(columns, "step_entries", step, -1)


def lose_a_grant(columns, rng):
    return without(columns, "ent", rng.integers(columns["ent_req"].size))


def double_a_grant(columns, rng):
    at = rng.integers(columns["ent_req"].size)
    rows = {name: np.insert(v, at, v[at]) for name, v in columns.items() if name[:4] == "ent_"}
    return rows | changed(columns, "step_entries", step_of_entry(columns, at), 1)


def grant_a_token_more(columns, rng):
    return changed(columns, "ent_tok", rng.integers(columns["ent_req"].size), 1)


def grant_a_token_less(columns, rng):
    return changed(columns, "ent_tok", rng.integers(columns["ent_req"].size), -1)


def grant_another_request(columns, rng):
    num_requests = columns["ent_req"].max() + 1
    by = rng.integers(1, num_requests)
    at = rng.integers(columns["ent_req"].size)
    other = (columns["ent_req"][at] + by) % num_requests
    return changed(columns, "ent_req", at, other - columns["ent_req"][at])


def sample_or_not(columns, rng):
    values = columns["ent_sampled"].copy()
    at = rng.integers(values.size)
    values[at] = ~values[at]
    return {"ent_sampled": values}


def shift_a_finish(columns, rng):
    at = rng.integers(columns["fin_req"].size)
    return changed(columns, "fin_step", at, -1 if columns["fin_step"][at] else 1)


def forget_a_finish(columns, rng):
    return without(columns, "fin", rng.integers(columns["fin_req"].size))


def finish_another(columns, rng):
    at = rng.integers(columns["fin_req"].size)
    num_requests = columns["ent_req"].max() + 1
    other = (columns["fin_req"][at] + rng.integers(1, num_requests)) % num_requests
    return changed(columns, "fin_req", at, other - columns["fin_req"][at])


def forget_an_eviction(columns, rng):
    return without(columns, "pre", rng.integers(columns["pre_req"].size))


def evict_later(columns, rng):
    return changed(columns, "pre_step", rng.integers(columns["pre_req"].size), 1)


def evict_without_freeing(columns, rng):
    at = columns["pre_step"][rng.integers(columns["pre_step"].size)]
    kept = np.arange(columns["step_free_mid"].size) >= at
    return {name: columns[name] - kept for name in ("step_free_mid", "step_free_end")}


def forget_an_admission(columns, rng):
    return without(columns, "adm", rng.integers(columns["adm_req"].size))


def admit_later(columns, rng):
    return changed(columns, "adm_step", rng.integers(columns["adm_req"].size), 1)


def wrong_mark(columns, rng):
    values = columns["adm_resumed"].copy()
    at = rng.integers(values.size)
    values[at] = ~values[at]
    return {"adm_resumed": values}


def count_wrong(columns, rng):
    names = [
        name
        for name in ServiceLog._fields
        if name.startswith("step_") and name not in ("step_clock", "step_end")
    ]
    name = names[rng.integers(len(names))]
    return changed(columns, name, rng.integers(columns["step_end"].size), rng.choice([-1, 1]))


def work_longer(columns, rng):
    at = rng.integers(columns["step_end"].size)
    later = np.arange(columns["step_end"].size)
    return {
        "step_end": columns["step_end"] + 1e-4 * (later >= at),
        "step_clock": columns["step_clock"] + 1e-4 * (later > at),
    }


def leave_a_gap(columns, rng):
    at = rng.integers(columns["step_end"].size)
    later = np.arange(columns["step_end"].size) >= at
    return {name: columns[name] + 1e-4 * later for name in ("step_end", "step_clock")}


MUTATIONS = [
    drop_a_grant,
    lose_a_grant,
    double_a_grant,
    grant_a_token_more,
    grant_a_token_less,
    grant_another_request,
    sample_or_not,
    shift_a_finish,
    forget_a_finish,
    finish_another,
    forget_an_eviction,
    evict_later,
    evict_without_freeing,
    forget_an_admission,
    admit_later,
    wrong_mark,
    count_wrong,
    work_longer,
    leave_a_gap,
]


@pytest.mark.parametrize("mutate", MUTATIONS)
def test_a_changed_log_is_noticed(mutate):
    tried = 0
    for name in ("recompute", "priority_refund", "swap", "restart", "one_block", "max_model_len"):
        scenario, log = stored_logs.load(stored_logs.FOLDER / f"{name}.json")
        reqs, server, out, columns = parts(scenario, log)
        if "evict" in mutate.__name__ and not columns["pre_req"].size:
            continue
        for seed in range(20):
            rows = mutate(columns, np.random.default_rng(seed))
            verdict = js.verify_service(reqs, server, out, columns | rows)
            assert not verdict.is_valid, (name, seed)
            assert verdict.violation
            tried += 1
    assert tried >= 60


OUTCOME_FIELDS = (
    "first_scheduled",
    "first_token",
    "completion",
    "num_preemptions",
    "max_itl",
    "num_steps",
    "recomputed_tokens",
    "busy",
    "peak_kv_tokens",
    "kv_token_time",
    "itl_histogram",
)


@pytest.mark.parametrize("field", OUTCOME_FIELDS)
def test_a_changed_outcome_is_noticed(field):
    reqs, server, out, columns = parts(scenario_of("recompute"))
    value = np.array(getattr(out, field))
    value.reshape(-1)[0] += 1
    verdict = js.verify_service(reqs, server, out.replace(**{field: value}), columns)
    assert not verdict.is_valid
    assert field in verdict.violation


def test_a_histogram_may_be_one_bucket_off_but_no_more():
    reqs, server, out, columns = parts(scenario_of("recompute"))
    for by in (-1, 1):
        near = out.replace(itl_histogram=np.roll(out.itl_histogram, by))
        assert js.verify_service(reqs, server, near, columns).is_valid
        far = out.replace(itl_histogram=np.roll(out.itl_histogram, 2 * by))
        assert "itl_histogram" in js.verify_service(reqs, server, far, columns).violation


@pytest.mark.parametrize(
    ("setting", "violation"),
    [
        ({"max_num_batched_tokens": 10}, "max_num_batched_tokens is 10"),
        ({"max_num_seqs": 2}, "step 20 runs 3 requests; max_num_seqs is 2"),
        ({"clock": js.clock.LinearClock(999.0, 0.0, 0.0, 0.0, 0.0)}, "its work ends at"),
        ({"clock": None}, "its work ends at"),
    ],
)
def test_a_server_with_less_could_not_have_done_it(setting, violation):
    reqs, server, out, columns = parts(scenario_of("recompute"))
    assert violation in js.verify_service(reqs, server.replace(**setting), out, columns).violation


def test_memory_is_counted_in_blocks():
    # The columns of free blocks claim that everything fits.
    reqs, server, out, columns = parts(scenario_of("recompute"))
    small = server.replace(kv_capacity=server.kv_capacity - server.block_size)
    verdict = js.verify_service(
        reqs,
        small,
        out,
        columns | {name: columns[name] - 1 for name in ("step_free_mid", "step_free_end")},
    )
    assert verdict.violation.endswith("blocks; kv_capacity // block_size is 11")


def test_statuses_are_judged():
    scenario, log = stored_logs.load(stored_logs.FOLDER / "max_model_len.json")
    reqs, server, out, columns = parts(scenario, log)
    refused = log.out_status.index("refused")
    served = log.out_status.index("finished")
    for request, status, say in (
        (refused, js.Status.OK, "could never finish, but was not refused"),
        (served, js.Status.REFUSED, "was refused, though it could finish alone"),
        (served, js.Status.STALLED, "finishes in the log, but does not count as served"),
    ):
        statuses = out.status.copy()
        statuses[request] = status
        verdict = js.verify_service(reqs, server, out.replace(status=statuses), columns)
        assert verdict == (False, f"request {request} {say}", -1, request)


def test_padding_is_left_out():
    reqs, server, out, columns = parts(scenario_of("recompute"))
    n = reqs.is_real.shape[0]

    def padded(tree, **padding):
        rows = {name: np.append(getattr(tree, name), value) for name, value in padding.items()}
        return tree.replace(**rows, is_real=np.arange(n + 1) < n)

    longer = padded(out, **dict.fromkeys(("arrival", "first_token", "max_itl"), np.nan))
    longer = longer.replace(
        **{
            name: np.append(getattr(out, name), 0)
            for name in ("first_scheduled", "completion", "num_preemptions", "status")
        }
    )
    padding = padded(reqs, arrival_s=np.inf, prompt_tokens=1, output_tokens=1)
    assert js.verify_service(padding, server, longer, columns).is_valid


class TestErrors:
    def test_a_missing_column(self):
        reqs, server, out, columns = parts(scenario_of("recompute"))
        del columns["ent_tok"]
        with pytest.raises(ValueError, match=r"log\['ent_tok'\] is missing; expected the log of"):
            js.verify_service(reqs, server, out, columns)

    def test_columns_of_unlike_length(self):
        with pytest.raises(ValueError, match=r"log\['pre_req'\] has shape \(1,\) but log\['pre_"):
            verdict_of(scenario_of("max_num_seqs"), pre_req=[1], pre_step=[])

    def test_columns_of_text(self):
        scenario = scenario_of("recompute")
        names = np.array(["a"] * len(scenario.log().step_end))
        with pytest.raises(ValueError, match=r"log\['step_P'\] has dtype <U1; expected integers"):
            verdict_of(scenario, step_P=names)

    def test_several_streams_or_servers(self):
        reqs, server, out, columns = parts(scenario_of("recompute"))
        with pytest.raises(ValueError, match=r"reqs has shape \(2, 10\); expected one stream"):
            js.verify_service(js.stack([reqs, reqs]), server, out, columns)
        two = server.replace(kv_capacity=np.array([48, 48]))
        with pytest.raises(ValueError, match=r"server has shape \(2,\); expected one server"):
            js.verify_service(reqs, two, out, columns)

    def test_requests_that_are_not_there(self):
        reqs, server, out, columns = parts(scenario_of("recompute"))
        verdict = js.verify_service(
            reqs, server, out, columns | {"fin_req": columns["fin_req"] + 5}
        )
        assert "expected 0 to 9" in verdict.violation
