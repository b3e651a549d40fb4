"""The least weighted flow time of a few requests, by trying starts in plain Python."""


def least_weighted_latency(prompt, output, capacity, weight, release):
    """Try every vector of starts, leaving out those that cannot become the best."""
    n, horizon = len(prompt), max(release) + sum(output)
    free = [capacity] * horizon
    # The heaviest first, so that bad choices show early.
    order = sorted(range(n), key=lambda i: -weight[i] / output[i])
    rest = [sum(weight[i] * output[i] for i in order[k:]) for k in range(n + 1)]
    best = sum(weight[i] * (horizon - release[i]) for i in range(n)) + 1

    def place(k, cost):
        nonlocal best
        if cost + rest[k] >= best:
            return
        if k == n:
            best = cost
            return
        i = order[k]
        for start in range(release[i], horizon - output[i] + 1):
            own = cost + weight[i] * (start + output[i] - release[i])
            if own + rest[k + 1] >= best:
                return
            held = [prompt[i] + u for u in range(1, output[i] + 1)]
            if all(free[start + u] >= tokens for u, tokens in enumerate(held)):
                for u, tokens in enumerate(held):
                    free[start + u] -= tokens
                place(k + 1, own)
                for u, tokens in enumerate(held):
                    free[start + u] += tokens

    place(0, 0)
    return best
