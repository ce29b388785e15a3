"""Recall against queries per second: fronts, interpolation, ratios. Pure."""

import math
from itertools import pairwise
from statistics import median

TARGETS = (0.90, 0.95, 0.99)


def front(points):
    """Indexes of the points (recall, qps) that no other point beats, by rising recall."""
    order = sorted(range(len(points)), key=lambda i: (-points[i][0], -points[i][1]))
    kept, best = [], -math.inf
    for i in order:
        if points[i][1] > best:
            kept.append(i)
            best = points[i][1]
    return kept[::-1]


def at_recall(points, target):
    """qps at `target` recall: log(qps) is interpolated over recall between the two neighbours of `points`, which are
    (recall, qps) by rising recall. None if the target lies outside of them: nothing is extrapolated."""
    for recall, qps in points:
        if recall == target:
            return qps
    for (low, slow), (high, fast) in pairwise(points):
        if low < target < high:
            share = (target - low) / (high - low)
            return math.exp(math.log(slow) + share * (math.log(fast) - math.log(slow)))
    return None


def rounds_at(points, target):
    """qps at `target` recall in each round; None if the target is not reached or passed by every point.

    `points` are dictionaries with `recall` and `qps`, one figure per round. The front is that of the medians, the same for
    all rounds."""
    kept = [points[i] for i in front([(p["recall"], median(p["qps"])) for p in points])]
    if not kept:
        return None
    found = [at_recall([(p["recall"], p["qps"][r]) for p in kept], target) for r in range(len(kept[0]["qps"]))]
    return None if None in found else found


def spread(values):
    """Median and range; None of nothing."""
    return {"median": median(values), "min": min(values), "max": max(values)} if values else None


def ratios(points, reference, target):
    """Spread of this curve's qps over the reference's at the same recall, round by round; None if either has none."""
    ours, theirs = rounds_at(points, target), rounds_at(reference, target)
    if ours is None or theirs is None:
        return None
    return spread([a / b for a, b in zip(ours, theirs, strict=True)])
