"""The same groups and matrices of distances from Brainy and from the client's in-process imitation of Qdrant."""

import math

import pytest
from hypothesis import given, settings
from qdrant_client import models

import generate
from compare import EXACT, TOLERANCE, described, near
from world import POINTS, randomness


@pytest.fixture(scope="session", params=["rest_plain", "rest_indexed"])
def world(request):
    """Without and with indexes."""
    return request.getfixturevalue(request.param)


@given(rng=randomness())
def test_groups_are_the_same(world, rng):
    using = rng.choice(generate.VECTORS)
    request = {
        "group_by": rng.choice(["color", "shapes", "count", "where.room", "owner", "parts[].kind"]),
        "query": generate.vector(rng, using),
        "using": using,
        "query_filter": generate.maybe_filter(rng, POINTS),
        "limit": rng.choice([1, 3, 10]),
        "group_size": rng.choice([1, 2, 5]),
    }
    about = described(request)
    found = world.client.query_points_groups(world.name, **request, search_params=EXACT).groups
    expected = world.reference.query_points_groups(world.name, **request).groups
    assert [group.id for group in found] == [group.id for group in expected], about
    for left, right in zip(found, expected):
        assert [hit.id for hit in left.hits] == [hit.id for hit in right.hits], about
        assert [hit.score for hit in left.hits] == near([hit.score for hit in right.hits]), about


@settings(max_examples=15)
@given(rng=randomness())
def test_matrices_of_distances_are_the_same(world, rng):
    """Of all points that match: a smaller sample would be another each time."""
    using = rng.choice([*generate.DENSE, *generate.MULTI])
    request = {
        "query_filter": models.Filter(must=[generate.id_condition(rng, POINTS), generate.any_filter(rng, POINTS)]),
        "using": using,
        "sample": POINTS,
        "limit": rng.choice([1, 3]),
    }
    about = described(request)

    def rows(pairs):
        """The best of each point, as scores; which of two equally near ones comes is open."""
        made = {}
        for pair in pairs:
            made.setdefault(pair.a, []).append(pair.score)
        return made

    found, expected = (rows(answer.pairs) for answer in world.ask("search_matrix_pairs", **request))
    assert found.keys() == expected.keys(), about
    for each, scores in found.items():
        assert scores == near(expected[each]), f"of {each}: {about}"
    offsets = world.client.search_matrix_offsets(world.name, **request)
    assert offsets.ids == sorted(found, key=lambda i: (isinstance(i, str), i)) or not found, about
    assert len(offsets.scores) == sum(map(len, found.values())), about
    assert math.isclose(sum(offsets.scores), sum(map(sum, found.values())), abs_tol=TOLERANCE * POINTS), about
