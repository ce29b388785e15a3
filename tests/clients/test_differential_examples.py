"""The same queries by examples and formulas to Brainy and to the client's in-process imitation of Qdrant."""

import pytest
from hypothesis import assume, given

import examples
import generate
import queries
from compare import EXACT, described, near, outcome
from world import LIMITS, POINTS, ask_both, randomness


@pytest.mark.parametrize("kind", [examples.recommend, examples.discover, examples.context])
@given(rng=randomness())
def test_queries_by_example_find_the_same(world, kind, rng):
    using = rng.choice(generate.VECTORS)
    request = {
        "query": kind(rng, using, POINTS),
        "using": using,
        "query_filter": generate.maybe_filter(rng, POINTS),
        "with_payload": False,
    }
    ask_both(world, request, rng.choice(LIMITS), rng.choice([0, 0, 3]))


@given(rng=randomness())
def test_diverse_results_are_the_same_in_the_same_order(world, rng):
    using = rng.choice(generate.VECTORS)
    request = {
        "query": examples.diverse(rng, using, POINTS),
        "using": using,
        "query_filter": generate.maybe_filter(rng, POINTS),
        "limit": rng.choice(LIMITS),
    }
    found = world.client.query_points(world.name, **request, search_params=EXACT).points
    expected = world.reference.query_points(world.name, **request).points
    about = described(request)
    assert [point.id for point in found] == [point.id for point in expected], about
    assert [point.score for point in found] == near([point.score for point in expected]), about


@given(rng=randomness())
def test_formulas_give_the_same_scores(world, rng):
    prefetch = [queries.prefetch(rng, POINTS, depth=0) for _ in range(rng.randint(1, 2))]
    request = {"prefetch": prefetch, "query": examples.formula(rng, len(prefetch))}
    expected = outcome(world.reference.query_points, world.name, **request, limit=POINTS)
    # A sum of single precision numbers that are large says nothing to four digits.
    assume(expected[0] == "refused" or all(abs(point.score) < 1e6 for point in expected[1].points))
    ask_both(world, request, POINTS)
