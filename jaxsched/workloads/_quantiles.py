"""Measured quantiles of request lengths, in tokens, that the synthetic workloads draw from."""

from __future__ import annotations

import numpy as np

PERCENTS = (0, 1, 5, 10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90, 95, 99, 100)

# A public sample of LMSYS-Chat-1M with prompts below 500 and answers below 600 tokens.
CHAT_PROMPT = (1, 1, 1, 4, 8, 10, 12, 16, 21, 30, 52, 63, 80, 191, 260, 416, 499)
CHAT_OUTPUT = (1, 1, 2, 8, 24, 36, 50, 82, 124, 172, 221, 247, 279, 370, 454, 562, 599)

# arXiv articles and their abstracts, Llama-2 tokenizer, prompt + output <= 4096.
SUMMARIZATION_MAX_SIZE = 4096
SUMMARIZATION_PROMPT = (
    *(1, 73, 748, 1242, 1802, 1986, 2150, 2453, 2730),
    *(2996, 3249, 3370, 3490, 3702, 3813, 3933, 4054),
)
OUTPUT_PERCENTS = (0, 10, 25, 50, 75, 90, 95, 99, 100)
SUMMARIZATION_OUTPUT_BY_FIFTH = (
    (10, 77, 119, 190, 429, 2775, 3270, 3779, 4056),
    (5, 74, 109, 159, 227, 333, 427, 922, 2125),
    (17, 78, 114, 166, 234, 323, 399, 744, 1558),
    (11, 82, 120, 172, 243, 332, 402, 615, 1022),
    (12, 82, 113, 158, 215, 278, 324, 422, 539),
)


def at_every_percent(percents: tuple[int, ...], quantiles: tuple[int, ...]) -> np.ndarray:
    """Quantiles at 0, 1, .., 100 per cent, float32 ``[101]``.

    Knots lie on whole per cents, so interpolating between these loses nothing, and finding the
    neighbours of a level takes no search.
    """
    return np.interp(np.arange(101), percents, quantiles).astype(np.float32)


def percent_up_to(percents: tuple[int, ...], quantiles: tuple[int, ...]) -> np.ndarray:
    """Per cent of draws that round to at most ``k`` tokens, float32 ``[max + 1]`` over ``k``.

    The inverse of interpolating strictly increasing ``quantiles`` and rounding.
    """
    return np.interp(np.arange(quantiles[-1] + 1) + 0.5, quantiles, percents).astype(np.float32)
