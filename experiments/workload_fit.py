"""Measure how closely generated `chat` and `summarization` lengths follow what they imitate.

Each generated sample is compared with the quantile table it is drawn from; `summarization` also
with the real file, where present, and with the simpler generator that redraws whole pairs.
"""

from __future__ import annotations

import _common
import jax
import numpy as np

from jaxsched import traces, workloads
from jaxsched.workloads import _quantiles as q

SEED = 0
LONG = 1000  # output tokens


def moments(prompt: np.ndarray, output: np.ndarray) -> dict[str, float]:
    """Figures that the schedule of a backlog depends on most."""
    volume = prompt * output + output * (output + 1) / 2
    return {
        "mean_prompt": float(prompt.mean()),
        "mean_output": float(output.mean()),
        "mean_volume": float(volume.mean()),
        "share_of_outputs_above_1000": float(np.mean(output > LONG)),
        "share_of_volume_above_1000": float(volume[output > LONG].sum() / volume.sum()),
        "pearson": float(np.corrcoef(prompt, output)[0, 1]),
        "spearman": float(np.corrcoef(ranks(prompt), ranks(output))[0, 1]),
    }


def ranks(tokens: np.ndarray) -> np.ndarray:
    """Positions in ascending order; equal values share their mean."""
    _, code, count = np.unique(tokens, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2)[code]


def quantile_errors(
    tokens: np.ndarray, percents: tuple[int, ...], expected: tuple[int, ...]
) -> list[_common.Row]:
    """Quantiles drawn and stated, and how far apart they are in per cent of probability."""
    drawn = np.percentile(tokens, percents)
    share_below = [np.mean(tokens < value) * 100 for value in expected]
    share_up_to = [np.mean(tokens <= value) * 100 for value in expected]
    outside = [
        max(low - percent, percent - high, 0.0)
        for low, percent, high in zip(share_below, percents, share_up_to, strict=True)
    ]
    columns = ("percent", "stated", "drawn", "error_in_percentage_points")
    return [
        dict(zip(columns, row, strict=True))
        for row in zip(percents, expected, drawn.tolist(), outside, strict=True)
    ]


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Kolmogorov-Smirnov distance between two samples."""
    values = np.union1d(first, second)
    shares = [np.searchsorted(np.sort(x), values, side="right") / x.size for x in (first, second)]
    return float(np.abs(shares[0] - shares[1]).max())


def pairs_redrawn(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the simpler way: redraw prompt and output together if they exceed 4096 tokens."""
    prompt, output = np.empty(0), np.empty(0)
    while prompt.size < count:
        level = rng.uniform(0, 100, count)
        drawn = np.interp(level, q.PERCENTS, q.SUMMARIZATION_PROMPT)
        fifth = (level // 20).astype(int)
        level = rng.uniform(0, 100, count)
        answers = np.stack(
            [np.interp(level, q.OUTPUT_PERCENTS, row) for row in q.SUMMARIZATION_OUTPUT_BY_FIFTH]
        )[fifth, np.arange(count)]
        drawn, answers = np.round(drawn), np.round(answers)
        fits = drawn + answers <= q.SUMMARIZATION_MAX_SIZE
        prompt = np.concatenate([prompt, drawn[fits]])
        output = np.concatenate([output, answers[fits]])
    return prompt[:count], output[:count]


def lengths(inst) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(inst.prompt_tokens, float), np.asarray(inst.output_tokens, float)


def main() -> None:
    arguments = _common.parser(__doc__).parse_args()
    count = 20_000 if arguments.smoke else 500_000
    chat = lengths(workloads.chat(jax.random.key(SEED), count))
    drawn = lengths(workloads.summarization(jax.random.key(SEED), count))
    samples = {
        "generated": drawn,
        "pairs_redrawn": pairs_redrawn(np.random.default_rng(SEED), count),
    }
    edges = [q.SUMMARIZATION_PROMPT[q.PERCENTS.index(percent)] for percent in (20, 40, 60, 80)]
    fifth = np.searchsorted(edges, drawn[0])
    quantiles = {
        ("chat", "prompt"): quantile_errors(chat[0], q.PERCENTS, q.CHAT_PROMPT),
        ("chat", "output"): quantile_errors(chat[1], q.PERCENTS, q.CHAT_OUTPUT),
        ("summarization", "prompt"): quantile_errors(drawn[0], q.PERCENTS, q.SUMMARIZATION_PROMPT),
    }
    for row, expected in enumerate(q.SUMMARIZATION_OUTPUT_BY_FIFTH):
        place = "summarization", f"output, fifth {row + 1} of prompts"
        quantiles[place] = quantile_errors(drawn[1][fifth == row], q.OUTPUT_PERCENTS, expected)
    distances = []
    folder = _common.data_dir()
    if folder is None:
        print("no real file: set JAXSCHED_DATA to compare with arxiv_summarization.csv.gz")
    else:
        real = traces.read(folder / "arxiv_summarization.csv.gz")
        samples["real"] = (real.prompt_tokens.astype(float), real.output_tokens.astype(float))
        distances = [
            {
                "sample": name,
                "prompt": distance(sample[0], samples["real"][0]),
                "output": distance(sample[1], samples["real"][1]),
                "prompt_plus_output": distance(sum(sample), sum(samples["real"])),
            }
            for name, sample in samples.items()
            if name != "real"
        ]
    found = {name: moments(*sample) for name, sample in samples.items()}
    for figure in found["generated"]:
        print(f"{figure:28}", *(f"{name} {row[figure]:12.4f}" for name, row in found.items()))
    rows = [{"workload": "chat", "sample": "generated"} | moments(*chat)]
    rows += [{"workload": "summarization", "sample": name} | row for name, row in found.items()]
    parts = {
        "quantiles": [
            {"workload": workload, "tokens": tokens} | row
            for (workload, tokens), table in quantiles.items()
            for row in table
        ],
        "distance_to_real": distances,
    }
    _common.write_results("workload_fit", rows, SEED, parts, draws=count)


if __name__ == "__main__":
    main()
