"""One collection with every kind of vector and payload, in Brainy and in the client's in-process imitation of Qdrant."""

import random

from hypothesis import strategies as st
from qdrant_client import models

import generate
from compare import EXACT, assert_best, described, outcome

POINTS = 240
LIMITS = [1, 5, 20]


def randomness():
    """What generators draw from: a failing request is made smaller."""
    return st.randoms(use_true_random=False, note_method_calls=False)


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


def ask_both(world, request, limit, offset=0):
    """The same outcome, and for answers the same points."""
    about = described(request | {"limit": limit, "offset": offset})
    found = outcome(world.client.query_points, world.name, **request, limit=limit, offset=offset, search_params=EXACT)
    expected = outcome(world.reference.query_points, world.name, **request, limit=POINTS)
    assert (found[0] == "done") == (expected[0] == "done"), f"{found[0]}, not {expected[0]}: {about}"
    if found[0] == "done":
        assert_best(found[1].points, expected[1].points, limit, about, offset)
