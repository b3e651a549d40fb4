"""How many tokens the KV cache of a server holds, by the way vLLM divides memory."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from jaxsched._lib.errors import InputError, in_file, integer, shown

_GIB = 2**30
_BYTES = {"bfloat16": 2, "float16": 2, "half": 2, "float32": 4, "float": 4}
#: Families whose layers all are attention and one gated feed-forward block.
_DENSE = ("llama", "mistral", "qwen2", "qwen3")
_BIASED = ("qwen2",)  # queries, keys and values have biases


def kv_capacity(
    layers: int,
    kv_heads: int,
    head_dim: int,
    *,
    memory_gib: float,
    weights_gib: float,
    bytes_per_value: float = 2,
    activations_gib: float = 2.0,
    gpu_memory_utilization: float = 0.9,
    tensor_parallel_size: int = 1,
    block_size: int = 16,
) -> int:
    r"""Count the tokens that the KV cache of a server holds.

    .. math:: \left( \left\lfloor \frac{u M - W / T - A}
        {2 \cdot \text{layers} \cdot \lceil \text{heads} / T \rceil \cdot \text{dim}
        \cdot \text{bytes} \cdot \text{block}} \right\rfloor - 1 \right) \cdot \text{block}

    of one of ``T`` GPUs, as vLLM divides its memory. It never uses one of the blocks, so that this
    is a block less than what it prints as "GPU KV cache size".

    Args:
      layers: layers that keep a cache.
      kv_heads: key and value heads of a layer.
      head_dim: numbers in a key or value of a head.
      memory_gib: memory of a GPU, GiB, as ``nvidia-smi`` says.
      weights_gib: memory of all weights, GiB; vLLM prints those of a GPU when it has loaded them.
      bytes_per_value: of a number in the cache: 2, or 1 for fp8.
      activations_gib: what a GPU needs beside weights and cache: activations, CUDA graphs, and the
        context. vLLM measures it when it starts, and prints what is left for the cache.
      gpu_memory_utilization: share of the memory that vLLM may take.
      tensor_parallel_size: GPUs that share heads and weights.
      block_size: tokens a block holds.

    Returns:
      The tokens, as ``Server(kv_capacity=..)`` takes them.

    Raises:
      ValueError: a number is out of range, or no memory is left.

    Example:
      >>> import jaxsched as js
      >>> js.servers.kv_capacity(32, 8, 128, memory_gib=79.65, weights_gib=14.96)
      448288

    Source:
      vLLM 0.33, ``vllm/v1/worker/gpu_worker.py`` and ``vllm/v1/core/kv_cache_utils.py``, 2026.
    """
    shards = integer("tensor_parallel_size", tensor_parallel_size)
    block = integer("block_size", block_size)
    heads = max(-(-integer("kv_heads", kv_heads) // shards), 1)
    values = 2 * integer("layers", layers) * heads * integer("head_dim", head_dim)
    per_block = values * _above_0("bytes_per_value", bytes_per_value) * block
    share = _above_0("gpu_memory_utilization", gpu_memory_utilization)
    if share > 1:
        raise InputError("gpu_memory_utilization", share, "expected a share, at most 1")
    taken = _above_0("weights_gib", weights_gib) / shards + float(activations_gib)
    if not 0 <= activations_gib < math.inf:
        raise InputError("activations_gib", activations_gib, "expected a number of GiB >= 0")
    left_gib = share * _above_0("memory_gib", memory_gib) - taken
    blocks = math.floor(left_gib * _GIB / per_block)
    if blocks < 2:
        raise InputError(
            "memory_gib",
            memory_gib,
            "take more GPUs, fewer activations_gib, or fewer bytes",
            finding=f"leaves {left_gib:.2f} GiB for the cache",
        )
    return (blocks - 1) * block


def kv_capacity_of_model(
    path: str | os.PathLike[str], *, memory_gib: float, weights_gib: float | None = None, **how: Any
) -> int:
    """Count the tokens that the KV cache holds, from the ``config.json`` of a model.

    Args:
      path: the file, as it lies beside a model's weights.
      memory_gib: memory of a GPU, GiB.
      weights_gib: memory of all weights, GiB; None counts parameters of the families Llama,
        Mistral, Qwen2 and Qwen3, without experts or quantization.
      how: the other arguments of :func:`kv_capacity`.

    Returns:
      The tokens, as ``Server(kv_capacity=..)`` takes them.

    Raises:
      ValueError: the file does not describe such a model, or no memory is left.
      OSError: it cannot be read.

    Example:
      >>> import json, pathlib, tempfile
      >>> import jaxsched as js
      >>> config = {"model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32,
      ...           "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
      ...           "intermediate_size": 14336, "torch_dtype": "bfloat16"}
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder, "config.json")
      ...     _ = path.write_text(json.dumps(config))
      ...     js.servers.kv_capacity_of_model(path, memory_gib=79.65)
      448304
    """
    with in_file(path):
        config = _config(path)
        layers, kv_heads, head_dim = _cache(config)
        if weights_gib is None:
            weights_gib = _weights_gib(config)
    if "bytes_per_value" not in how:
        how["bytes_per_value"] = _bytes_per_value(config)
    return kv_capacity(
        layers, kv_heads, head_dim, memory_gib=memory_gib, weights_gib=weights_gib, **how
    )


def _config(path: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        config = json.loads(Path(path).read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON: {error}") from None
    config = config.get("text_config", config) if isinstance(config, dict) else None
    if not isinstance(config, dict):
        raise ValueError("holds no JSON object")
    return config


def _cache(config: dict[str, Any]) -> tuple[int, int, int]:
    """Layers, heads and their size; models whose layers keep different caches are refused."""
    for name in ("kv_lora_rank", "layer_types", "sliding_window"):
        value = config.get(name)
        is_plain = value is None or (name == "layer_types" and set(value) == {"full_attention"})
        is_off = name == "sliding_window" and config.get("use_sliding_window") is False
        if not is_plain and not is_off:
            raise ValueError(
                f"{name} is {shown(value)}; only layers that all keep keys and values of every "
                "token are counted: take what vLLM prints"
            )
    heads = _count(config, "num_attention_heads")
    kv_heads = heads if config.get("num_key_value_heads") is None else None
    head_dim = config.get("head_dim") or _count(config, "hidden_size") // heads
    return (
        _count(config, "num_hidden_layers"),
        kv_heads or _count(config, "num_key_value_heads"),
        integer("head_dim", head_dim),
    )


def _weights_gib(config: dict[str, Any]) -> float:
    kind = config.get("model_type")
    if kind not in _DENSE or config.get("quantization_config") is not None:
        what = f"model_type {shown(kind)}" if kind not in _DENSE else "quantized weights"
        raise InputError("weights_gib", None, "give it", finding=f"is not known of {what}")
    layers, kv_heads, head_dim = _cache(config)
    hidden, vocabulary = _count(config, "hidden_size"), _count(config, "vocab_size")
    queries, keys = _count(config, "num_attention_heads") * head_dim, kv_heads * head_dim
    attention = hidden * (2 * queries + 2 * keys)
    if kind in _BIASED:
        attention += queries + 2 * keys
    if kind == "qwen3":
        attention += 2 * head_dim  # norms of queries and keys
    feed_forward = 3 * hidden * _count(config, "intermediate_size")
    embeddings = vocabulary * hidden * (1 if config.get("tie_word_embeddings") else 2)
    parameters = embeddings + hidden + layers * (attention + feed_forward + 2 * hidden)
    return parameters * _bytes_per_value(config) / _GIB


def _bytes_per_value(config: dict[str, Any]) -> int:
    kind = config.get("torch_dtype", config.get("dtype", "bfloat16"))
    if kind not in _BYTES:
        raise InputError("torch_dtype", kind, f"expected one of {', '.join(_BYTES)}")
    return _BYTES[kind]


def _count(config: dict[str, Any], name: str) -> int:
    if name not in config:
        raise ValueError(f"{name} is missing; expected the config.json of a language model")
    return integer(name, config[name])


def _above_0(name: str, value: float) -> float:
    if not 0 < float(value) < math.inf:
        raise InputError(name, value, "expected a finite number above 0")
    return float(value)
