"""The optimum of a small backlog by search over starts, independent of any solver."""


def has_schedule_below(prompt, output, capacity, total):
    """Whether some schedule has a total latency below ``total``.

    Requests are placed in the order of their starts, at every round that may lead below. Equal
    requests are placed once.
    """
    n = len(output)
    most = total - sum(output) - 1  # of the sum of all starts
    held = [0] * (sum(output) + max(output) + 1)

    def fits(request, start):
        return all(
            held[start + age] + prompt[request] + age + 1 <= capacity
            for age in range(output[request])
        )

    def put(request, start, sign):
        for age in range(output[request]):
            held[start + age] += sign * (prompt[request] + age + 1)

    def search(left, first, spent):
        if not left:
            return True
        start = first
        while spent + len(left) * start <= most and start + 1 < len(held) - max(output):
            tried = set()
            for request in left:
                kind = prompt[request], output[request]
                if kind in tried or not fits(request, start):
                    continue
                tried.add(kind)
                put(request, start, 1)
                found = search(left - {request}, start, spent + start)
                put(request, start, -1)
                if found:
                    return True
            start += 1
        return False

    return search(frozenset(range(n)), 0, 0)
