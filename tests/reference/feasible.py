"""Whether one more request can start at a round, by counting every round there is."""


def fits(
    candidate: int,
    round_: int,
    start: list[int | None],
    prompt: list[int],
    output: list[int],
    capacity: int,
    admission: str,
    max_num_seqs: int | None,
) -> bool:
    """Whether ``candidate``, started at ``round_``, leaves every round within its limits."""
    trial = list(start)
    trial[candidate] = round_
    started = [i for i in range(len(trial)) if trial[i] is not None]
    last_round = max(trial[i] + output[i] for i in started)
    for t in range(1, last_round + 1):
        active = [i for i in started if trial[i] < t <= trial[i] + output[i]]
        if admission == "look_ahead":
            held = sum(prompt[i] + (t - trial[i]) for i in active)
        elif admission == "peak":
            held = sum(prompt[i] + output[i] for i in active)
        else:
            raise ValueError(admission)
        if held > capacity:
            return False
        if max_num_seqs is not None and len(active) > max_num_seqs:
            return False
    return True
