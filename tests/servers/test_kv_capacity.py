"""How many tokens a KV cache holds, as vLLM counts them."""

import json

import pytest

import jaxsched as js

LLAMA_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
}


def config(tmp_path, **changes):
    path = tmp_path / "config.json"
    content = {key: value for key, value in (LLAMA_8B | changes).items() if value != "absent"}
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("left_gib", "layers", "bytes_per_value", "printed"),
    [
        (5.29, 32, 2, 43_296),  # Llama-3.1-8B, bfloat16
        (5.11, 80, 1, 33_504),  # Llama-3.3-70B, fp8 cache
    ],
)
def test_agrees_with_what_vllm_prints(left_gib, layers, bytes_per_value, printed):
    """Memory that vLLM left for the cache, and the tokens it then counted, from two logs.

    It prints memory to a hundredth of a GiB, and counts the block that it never uses.
    """
    found = [
        js.servers.kv_capacity(
            *(layers, 8, 128),
            bytes_per_value=bytes_per_value,
            memory_gib=left_gib + rounding + 1.0,
            weights_gib=1.0,
            activations_gib=0.0,
            gpu_memory_utilization=1.0,
        )
        for rounding in (-0.005, 0.005)
    ]
    assert found[0] <= printed - 16 <= found[1]


def test_counts_blocks_by_hand():
    """0.9 x 80 - 15 - 2 = 55 GiB at 2 x 32 x 8 x 128 x 2 bytes a token: 28,160 blocks of 16."""
    found = js.servers.kv_capacity(32, 8, 128, memory_gib=80, weights_gib=15)
    assert found == (28_160 - 1) * 16


def test_gpus_share_heads_and_weights():
    """(0.9 x 80 - 140 / 4 - 2) GiB of each; 8 heads over 4 GPUs are 2, over 16 still 1."""
    found = js.servers.kv_capacity(
        80, 8, 128, memory_gib=80, weights_gib=140, tensor_parallel_size=4
    )
    assert found == (int(35 * 2**30 / (2 * 80 * 2 * 128 * 2 * 16)) - 1) * 16
    many = js.servers.kv_capacity(
        80, 8, 128, memory_gib=80, weights_gib=140, tensor_parallel_size=16
    )
    assert many == (int((70 - 140 / 16) * 2**30 / (2 * 80 * 1 * 128 * 2 * 16)) - 1) * 16


def test_a_config_says_layers_heads_and_weights(tmp_path):
    """Llama-3.1-8B has 8,030,261,248 parameters."""
    found = js.servers.kv_capacity_of_model(config(tmp_path), memory_gib=79.65)
    weights = 8_030_261_248 * 2 / 2**30
    assert found == js.servers.kv_capacity(32, 8, 128, memory_gib=79.65, weights_gib=weights)
    halved = js.servers.kv_capacity_of_model(
        config(tmp_path), memory_gib=79.65, weights_gib=8.0, bytes_per_value=1
    )
    assert halved == js.servers.kv_capacity(
        32, 8, 128, memory_gib=79.65, weights_gib=8.0, bytes_per_value=1
    )


def test_a_config_may_name_the_size_of_heads(tmp_path):
    """Qwen3-8B: 36 layers of 8 heads of 128; 8,190,735,360 parameters."""
    path = config(
        tmp_path,
        model_type="qwen3",
        num_hidden_layers=36,
        intermediate_size=12288,
        vocab_size=151936,
        head_dim=128,
        use_sliding_window=False,
        sliding_window=None,
    )
    found = js.servers.kv_capacity_of_model(path, memory_gib=79.65)
    weights = 8_190_735_360 * 2 / 2**30
    assert found == js.servers.kv_capacity(36, 8, 128, memory_gib=79.65, weights_gib=weights)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "mixtral"}, "weights_gib is not known of model_type 'mixtral'; give it"),
        ({"quantization_config": {}}, "weights_gib is not known of quantized weights; give it"),
        ({"kv_lora_rank": 512}, "kv_lora_rank is 512; only layers that all keep"),
        ({"sliding_window": 4096}, "sliding_window is 4096; only layers"),
        ({"layer_types": ["full_attention", "linear_attention"]}, "layer_types is"),
        ({"num_hidden_layers": "absent"}, "num_hidden_layers is missing"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0; expected an integer >= 1"),
        ({"torch_dtype": "int3"}, "torch_dtype is 'int3'; expected one of bfloat16"),
    ],
)
def test_what_a_config_does_not_say_is_asked_for(tmp_path, changes, message):
    path = config(tmp_path, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        js.servers.kv_capacity_of_model(path, memory_gib=80)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"memory_gib": 10}, "memory_gib leaves -8.00 GiB for the cache"),
        ({"memory_gib": float("inf")}, "memory_gib is inf; expected a finite number above 0"),
        ({"gpu_memory_utilization": 90}, "gpu_memory_utilization is 90.0; expected a share"),
        ({"activations_gib": -1}, "activations_gib is -1; expected a number of GiB >= 0"),
        ({"block_size": 0}, "block_size is 0; expected an integer >= 1"),
    ],
)
def test_numbers_out_of_range_are_named(changes, message):
    given = {"memory_gib": 80, "weights_gib": 15, **changes}
    with pytest.raises(ValueError, match=message):
        js.servers.kv_capacity(32, 8, 128, **given)
