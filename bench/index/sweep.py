"""Which `ef` to try next, so that a curve spans the recalls of interest. Pure."""

from curve import TARGETS

LOW, HIGH = 0.85, 0.999
LIMIT = 2_000
# How near the two neighbours of a target shall be, in recall.
WIDTH = {0.90: 0.03, 0.95: 0.02, 0.99: 0.005}


def following(k, known):
    """The next `ef` to try, or None. `known` maps each tried `ef` to its recall."""
    if not known:
        return k
    top = max(known)
    if known[top] < HIGH and top < LIMIT:
        return min(LIMIT, max(top + 2, round(top * 1.35)))
    for target in TARGETS:
        below = max((ef for ef, recall in known.items() if recall < target), default=None)
        if below is None:
            continue
        above = min((ef for ef in known if ef > below), default=None)
        if above is not None and above - below > 1 and known[above] - known[below] > WIDTH[target]:
            return (below + above) // 2
    return None


def wanted(known):
    """The tried `ef`s that are worth timing: from the last one below LOW to the first at or above HIGH."""
    efs = sorted(known)
    first = max((i for i, ef in enumerate(efs) if known[ef] < LOW), default=0)
    last = min((i for i, ef in enumerate(efs) if known[ef] >= HIGH), default=len(efs) - 1)
    return efs[first : max(first, last) + 1]
