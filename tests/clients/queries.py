"""Random queries of every kind."""

from qdrant_client import models

import generate

MOMENTS = ["2024-03-01T00:00:00Z", "2024-08-15T12:00:00Z"]


def prefetch(rng, points, names=generate.VECTORS, depth=1):
    """A search with one of the vectors, perhaps among what other searches found.

    Its filter has no alternatives: Brainy asks for what matches the filter of the whole query and this one, where Qdrant
    throws the alternatives of both together.
    """
    using = rng.choice(names)
    inner = None
    if depth and rng.random() < 0.3:
        inner = [prefetch(rng, points, names, depth - 1) for _ in range(rng.randint(1, 2))]
    own = generate.any_filter(rng, points, depth=0) if rng.random() < 0.3 else None
    return models.Prefetch(
        prefetch=inner,
        query=generate.vector(rng, using),
        using=using,
        filter=own and models.Filter(must=own.must, must_not=own.must_not),
        limit=rng.choice([5, 20, 60]),
    )


def fused(rng, points):
    """Searches and how their results become one list.

    Scores of distances are not fused: to Brainy the nearest is best there too, to Qdrant the farthest.
    """
    scores = rng.random() < 0.4
    names = generate.SIMILARITIES if scores else generate.VECTORS
    sources = [prefetch(rng, points, names) for _ in range(rng.randint(1, 3))]
    if scores:
        return sources, models.FusionQuery(fusion=models.Fusion.DBSF)
    ranks = [
        lambda: models.FusionQuery(fusion=models.Fusion.RRF),
        lambda: models.RrfQuery(rrf=models.Rrf(k=rng.choice([None, 1, 10, 60]))),
        lambda: models.RrfQuery(rrf=models.Rrf(weights=[rng.choice([0.5, 1.0, 3.0]) for _ in sources])),
    ]
    return sources, rng.choice(ranks)()


def order(rng):
    key = rng.choice(["count", "weight", "at"])
    start = {
        "count": rng.randint(0, 20),
        "weight": rng.uniform(0, 10),
        "at": rng.choice(MOMENTS),
    }[key]
    return models.OrderBy(
        key=key,
        direction=rng.choice([None, *models.Direction]),
        start_from=start if rng.random() < 0.5 else None,
    )
