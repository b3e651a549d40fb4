"""A server's settings as flags of vllm serve."""

import pytest

import jaxsched as js
from jaxsched.model.vllm_settings import engine_arguments


def read(flags):
    """Read flags as vLLM does: a name and a value, or a switch."""
    settings = {}
    for flag in flags:
        name, _, value = flag.partition(" ")
        if value:
            settings[name] = value if value.isalpha() else float(value)
        else:
            settings[name.replace("--no-", "--")] = not name.startswith("--no-")
    return {
        name: int(value) if isinstance(value, float) and value == int(value) else value
        for name, value in settings.items()
    }


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"max_num_seqs": 300, "max_num_batched_tokens": 8192},
        {"block_size": 32, "max_model_len": 4096, "long_prefill_token_threshold": 512},
        {"long_prefill_token_threshold_adaptive": True, "enable_chunked_prefill": False},
        {"watermark": 0.25, "prefill_schedule_interval": 3, "admission": "chunk"},
        {"policy": "priority"},
    ],
)
def test_flags_are_read_as_the_same_server(settings):
    server = js.Server(kv_capacity=4096, **settings)
    flags = engine_arguments(server, is_fcfs=server.policy == "fcfs")
    assert repr(js.Server.from_vllm(kv_capacity=4096, **read(flags))) == repr(server)


def test_budget_seats_and_policy_are_always_there():
    assert engine_arguments(js.Server(kv_capacity=4096), is_fcfs=False) == [
        "--max-num-batched-tokens 2048",
        "--max-num-seqs 128",
        "--scheduling-policy priority",
    ]


@pytest.mark.parametrize(
    "choice",
    [
        {"admission": "peak"},
        {"preemption": "swap"},
        {"victim": "last_admitted"},
        {"prefill_first": True},
    ],
)
def test_a_choice_that_vllm_lacks_is_refused(choice):
    (name,) = choice
    with pytest.raises(ValueError, match=f"{name} is .*; vLLM has only"):
        engine_arguments(js.Server(kv_capacity=4096, **choice))
