"""The same data and requests to Brainy and to the client's in-process imitation of Qdrant: reads."""

import random
import uuid

import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from qdrant_client import QdrantClient, models

import generate
from compare import assert_best, assert_same_records, described

POINTS = 240
EXACT = models.SearchParams(exact=True)


class World:
    """One collection, here and in the imitation."""

    def __init__(self, client, reference, name):
        self.client, self.reference, self.name = client, reference, name

    @property
    def both(self):
        return self.client, self.reference

    def ask(self, method, **request):
        """What both say to one request."""
        return [getattr(each, method)(self.name, **request) for each in self.both]


def fill(world):
    """Points with all kinds of vectors, some of which were changed, stripped or deleted afterwards."""
    rng = random.Random(20)
    points = [
        models.PointStruct(id=generate.point_id(i), vector=generate.vectors(rng), payload=generate.payload(rng))
        for i in range(POINTS)
    ]

    def some(count):
        return [generate.point_id(i) for i in rng.sample(range(POINTS), count)]

    moved = [models.PointVectors(id=i, vector={"dot": generate.vector(rng, "dot")}) for i in some(20)]
    stripped, changed, removed = some(20), generate.any_filter(rng, POINTS), some(15)
    for each in world.both:
        each.create_collection(
            world.name, vectors_config=generate.DENSE | generate.MULTI, sparse_vectors_config=generate.SPARSE
        )
        each.upload_points(world.name, points=points, batch_size=50, wait=True)
        each.update_vectors(world.name, points=moved)
        each.delete_vectors(world.name, vectors=["cosine", "pages", "terms"], points=stripped)
        each.set_payload(world.name, payload={"marked": True}, points=changed)
        each.delete(world.name, points_selector=removed)


@pytest.fixture(scope="module", params=[{}, generate.INDEXES], ids=["plain", "indexed"])
def world(client, request):
    made = World(client, QdrantClient(":memory:"), f"world-{uuid.uuid4().hex[:8]}")
    try:
        fill(made)
        for field, kind in request.param.items():
            client.create_payload_index(made.name, field_name=field, field_schema=kind)
        yield made
    finally:
        client.delete_collection(made.name)
        made.reference.close()


def randomness():
    return st.randoms(use_true_random=False, note_method_calls=False)


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
