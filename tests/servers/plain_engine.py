"""Twenty lines of chunked prefill, first come first served, that write the log of vLLM."""

import collections

import numpy as np

CAPACITY, BLOCK, BUDGET = 40_000, 16, 512
CLOCK = {"a": 6.0, "b": 0.02, "c": 0.05, "d": 1e-4, "e": 4e-7}


def blocks(tokens):
    return -(-tokens // BLOCK)


def steps(seed=0, num_requests=300, clock=CLOCK):
    """Work and time of each step, and what the log says of it."""
    rng = np.random.default_rng(seed)
    queue = collections.deque(
        [int(s), int(o)]
        for s, o in zip(
            rng.integers(20, 1500, num_requests), rng.integers(5, 120, num_requests), strict=True
        )
    )
    running = []  # of each request: prompt, output, computed tokens
    while queue or running:
        left, p, q, filling, kv, b = BUDGET, 0, 0, 0, 0, 0
        if len(running) < 40 and queue and rng.random() < 0.4:
            running.append([*queue.popleft(), 0])
        for request in running:
            prompt, _, done = request
            chunk = min(1 if done >= prompt else prompt - done, left)
            if done >= prompt and chunk:
                kv, b = kv + done, b + 1
            elif chunk:
                p, q, filling = p + chunk, q + (done + chunk) ** 2 - done**2, filling + 1
            request[2] += chunk
            left -= chunk
        running = [each for each in running if each[2] < each[0] + each[1] - 1]
        if not p + b:
            continue
        used = sum(blocks(each[2]) for each in running) / (CAPACITY // BLOCK)
        ms = sum(rate * each for rate, each in zip(clock.values(), (1, p, b, kv, q), strict=True))
        yield p, b, kv, q, filling, used, ms


def log_lines(
    of_steps, prefix="(APIServer pid=7) INFO 11-20 10:00:00 [loggers.py:199] Engine 000: "
):
    """Lines as vLLM 0.33 prints them."""
    yield f"INFO 11-20 [kv_cache_utils.py:1286] GPU KV cache size: {CAPACITY:,} tokens"
    for index, (p, b, _, _, filling, used, ms) in enumerate(of_steps):
        yield (
            f"{prefix}Iteration({index}): {filling} context requests, {p} context tokens, {b} "
            f"generation requests, {b} generation tokens, iteration elapsed time: {ms:.2f} ms, "
            f"GPU KV cache usage: {100 * used:.1f}%"
        )
