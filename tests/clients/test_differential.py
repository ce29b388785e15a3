"""The same data and requests to Brainy and to the client's in-process imitation of Qdrant: reads."""

from hypothesis import event, given
from qdrant_client import models

import generate
from compare import EXACT, assert_best, assert_same_records, described
from world import POINTS, randomness


@given(rng=randomness())
def test_filters_select_the_same_points(world, rng):
    condition = generate.any_filter(rng, POINTS)
    about = described({"filter": condition})
    scrolls = [
        each.scroll(world.name, scroll_filter=condition, limit=POINTS, with_vectors=True)[0] for each in world.both
    ]
    assert_same_records(*scrolls, about)
    counts = [answer.count for answer in world.ask("count", count_filter=condition, exact=True)]
    assert counts[0] == counts[1] == len(scrolls[1]), about
    event("nothing selected" if not counts[0] else "everything selected" if counts[0] == POINTS - 15 else "some")


@given(rng=randomness())
def test_pages_are_the_same(world, rng):
    request = {
        "scroll_filter": generate.maybe_filter(rng, POINTS),
        "limit": rng.randint(1, 50),
        "offset": generate.point_id(rng.randrange(POINTS)) if rng.random() < 0.7 else None,
        "with_payload": rng.choice(
            [
                True,
                ["color", "where.room", "parts[].size"],
                models.PayloadSelectorExclude(exclude=["at", "where.floor", "parts[].kind"]),
            ]
        ),
        "with_vectors": rng.choice([False, ["dot", "terms"]]),
    }
    (found, following), (expected, expected_following) = world.ask("scroll", **request)
    assert_same_records(found, expected, described(request))
    assert following == expected_following, described(request)


@given(rng=randomness())
def test_nearest_points_are_the_same(world, rng):
    using = rng.choice(generate.VECTORS)
    request = {
        "query": generate.vector(rng, using),
        "using": using,
        "query_filter": generate.maybe_filter(rng, POINTS),
    }
    limit, offset = rng.choice([1, 5, 20]), rng.choice([0, 0, 3])
    about = described(request)
    found = world.client.query_points(world.name, **request, limit=limit, offset=offset, search_params=EXACT).points
    everything = world.reference.query_points(world.name, **request, limit=POINTS).points
    assert_best(found, everything, limit, about, offset)
    # A threshold between two scores, or one of a point that does not come.
    if len(everything) > 1:
        request["score_threshold"] = sum(point.score for point in everything[:2]) / 2
        found = world.client.query_points(world.name, **request, limit=limit, search_params=EXACT).points
        assert_best(found, everything[: 1 if everything[0].score != everything[1].score else 0], limit, about)
