"""Which width of search to try next, so that the narrowest one that reaches each recall is known. Pure."""

STEP, LIMIT = 1.4, 2_000
# Widths this near each other are not worth telling apart.
NEAR = 1.12


def following(k, known, targets):
    """The next width to try, or None. `known` maps each tried width to its recall."""
    if not known:
        return k
    top = max(known)
    if known[top] < max(targets) and top < LIMIT:
        return min(LIMIT, max(top + 2, round(top * STEP)))
    for target in targets:
        reached = narrowest(known, target)
        below = max((width for width in known if reached and width < reached), default=None)
        if below is not None and reached - below > 1 and reached > below * NEAR:
            return (below + reached) // 2
    return None


def narrowest(known, target):
    """The narrowest tried width from which on the recall is at least `target`; None if there is none."""
    found = None
    for width in sorted(known, reverse=True):
        if known[width] < target:
            break
        found = width
    return found
