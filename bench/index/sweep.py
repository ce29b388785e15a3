"""Which `ef` to try next, so that a curve spans the recalls of interest. Pure."""

from curve import TARGETS

LOW, HIGH = 0.85, 0.999
LIMIT = 2_000
# A sweep ends where three steps together, two and a half times an `ef` of at least WIDE, find less than this share of what is
# missed: it is not for want of candidates.
STEP, FLAT, WIDE = 1.35, 0.02, 100
# How near the two neighbours of a target shall be, in recall.
WIDTH = {0.90: 0.03, 0.95: 0.02, 0.99: 0.005}


def following(k, known):
    """The next `ef` to try, or None. `known` maps each tried `ef` to its recall."""
    if not known:
        return k
    top = max(known)
    if known[top] < HIGH and top < LIMIT and not flat(known):
        return min(LIMIT, max(top + 2, round(top * STEP)))
    for target in TARGETS:
        below = max((ef for ef, recall in known.items() if recall < target), default=None)
        if below is None:
            continue
        above = min((ef for ef in known if ef > below), default=None)
        if above is not None and above - below > 1 and known[above] - known[below] > WIDTH[target]:
            return (below + above) // 2
    return None


def flat(known):
    """Whether recall has stopped to rise."""
    coarse = [max(known)]
    while len(coarse) < 4:
        below = [ef for ef in known if WIDE <= ef <= (coarse[-1] + 1) / STEP]
        if not below:
            return False
        coarse.append(max(below))
    return known[coarse[0]] - known[coarse[-1]] < FLAT * (1 - known[coarse[-1]])


def wanted(known):
    """The tried `ef`s that are worth timing: from the last one below LOW to the first at or above HIGH, or to the best."""
    efs = sorted(known)
    first = max((i for i, ef in enumerate(efs) if known[ef] < LOW), default=0)
    best = max(known.values())
    last = min(i for i, ef in enumerate(efs) if known[ef] >= min(HIGH, best))
    return efs[first : last + 1] or [efs[last]]
