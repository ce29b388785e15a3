"""The same queries of every kind to Brainy and to the client's in-process imitation of Qdrant."""

from hypothesis import given
from qdrant_client import models

import generate
import queries
from compare import described
from world import LIMITS, POINTS, ask_both, randomness


@given(rng=randomness())
def test_a_point_as_query_finds_the_same(world, rng):
    using = rng.choice(generate.VECTORS)
    request = {
        "query": generate.point_id(rng.randrange(POINTS)),
        "using": using,
        "query_filter": generate.maybe_filter(rng, POINTS),
    }
    ask_both(world, request, rng.choice(LIMITS))


@given(rng=randomness())
def test_searches_among_what_others_found_are_the_same(world, rng):
    using = rng.choice(generate.VECTORS)
    request = {
        "prefetch": [queries.prefetch(rng, POINTS) for _ in range(rng.randint(1, 3))],
        "query": generate.vector(rng, using),
        "using": using,
        "query_filter": generate.maybe_filter(rng, POINTS),
    }
    ask_both(world, request, rng.choice(LIMITS), rng.choice([0, 0, 3]))


@given(rng=randomness())
def test_fused_searches_are_the_same(world, rng):
    prefetch, query = queries.fused(rng, POINTS)
    request = {
        "prefetch": prefetch,
        "query": query,
        "query_filter": generate.maybe_filter(rng, POINTS),
    }
    ask_both(world, request, rng.choice(LIMITS), rng.choice([0, 0, 3]))


@given(rng=randomness())
def test_a_query_of_nothing_lists_the_same_points(world, rng):
    request = {"query_filter": generate.maybe_filter(rng, POINTS), "limit": rng.choice(LIMITS)}
    found, expected = (each.query_points(world.name, **request).points for each in world.both)
    assert [point.id for point in found] == [point.id for point in expected], described(request)


def assert_ordered(found, everything, limit, about):
    """`found` is a right beginning of `everything`; points with equal values may come in any order."""
    values = [each.order_value for each in everything[:limit]]
    assert [each.order_value for each in found] == values, about
    possible = {(each.id, each.order_value) for each in everything}
    pairs = [(each.id, each.order_value) for each in found]
    assert len(set(pairs)) == len(pairs) and set(pairs) <= possible, about


@given(rng=randomness())
def test_points_in_the_order_of_a_value_are_the_same(indexed, rng):
    order, condition, limit = queries.order(rng), generate.maybe_filter(rng, POINTS), rng.choice(LIMITS)
    about = described({"order_by": order, "filter": condition, "limit": limit})
    request = {"scroll_filter": condition, "order_by": order}
    found, following = indexed.client.scroll(indexed.name, **request, limit=limit)
    everything, _ = indexed.reference.scroll(indexed.name, **request, limit=2 * POINTS)
    assert_ordered(found, everything, limit, about)
    assert following is None

    request = {"query_filter": condition, "query": models.OrderByQuery(order_by=order)}
    found = indexed.client.query_points(indexed.name, **request, limit=limit).points
    assert_ordered(found, everything, limit, about)


@given(rng=randomness())
def test_samples_are_of_what_matches(world, rng):
    condition, limit = generate.maybe_filter(rng, POINTS), rng.choice(LIMITS)
    query = models.SampleQuery(sample=models.Sample.RANDOM)
    found = world.client.query_points(world.name, query=query, query_filter=condition, limit=limit).points
    matching = {point.id for point in world.reference.scroll(world.name, scroll_filter=condition, limit=POINTS)[0]}
    about = described({"filter": condition, "limit": limit})
    assert len(found) == min(limit, len(matching)), about
    assert len({point.id for point in found}) == len(found) and {point.id for point in found} <= matching, about


@given(rng=randomness())
def test_facets_are_the_same(indexed, rng):
    request = {
        "key": rng.choice(["color", "shapes", "count", "live", "owner", "where.room", "parts[].kind"]),
        "facet_filter": generate.maybe_filter(rng, POINTS),
        "limit": rng.choice([1, 3, 30]),
        "exact": True,
    }
    found, expected = ([(hit.value, hit.count) for hit in answer.hits] for answer in indexed.ask("facet", **request))
    assert found == expected, described(request)
