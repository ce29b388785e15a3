"""The same changes to Brainy and to the client's in-process imitation of Qdrant: writes."""

import uuid

import pytest
from hypothesis import given
from qdrant_client import QdrantClient, models

import generate
from compare import assert_same_records, described, outcome
from world import randomness

IDS = 12
STEPS = 6
SIZE = 3
VECTORS = {
    "near": models.VectorParams(size=SIZE, distance=models.Distance.COSINE),
    "far": models.VectorParams(size=SIZE, distance=models.Distance.EUCLID),
    "pages": models.VectorParams(size=SIZE, distance=models.Distance.DOT, multivector_config=generate.MAX_SIM),
}
SPARSE = {"terms": models.SparseVectorParams()}
PATHS = [
    "n",
    "word",
    "tags",
    "tags[]",
    "tags[0]",
    "in.n",
    "in.deep.n",
    "parts[].n",
    "parts[1].n",
    "parts[0]",
    "nowhere",
]


def vector(rng, name):
    rng = generate.seeded(rng)
    if name == "pages":
        return [generate.floats(rng, SIZE) for _ in range(rng.randint(1, 3))]
    return generate.sparse(rng, 4) if name == "terms" else generate.floats(rng, SIZE)


def vectors(rng):
    return {name: vector(rng, name) for name in [*VECTORS, *SPARSE] if rng.random() < 0.7}


def payload(rng):
    some = {
        "n": lambda: rng.choice([0, 1, 1.5, None]),
        "word": lambda: rng.choice(["one", "two", ""]),
        "tags": lambda: [rng.choice(["x", "y", None]) for _ in range(rng.randint(0, 3))],
        "in": lambda: {"n": rng.randint(0, 2), "deep": {"n": rng.randint(0, 2)}},
        "parts": lambda: [{"n": rng.randint(0, 2)} for _ in range(rng.randint(0, 3))],
    }
    return {key: make() for key, make in some.items() if rng.random() < 0.5}


def ids(rng):
    return [generate.point_id(rng.randrange(IDS)) for _ in range(rng.randint(1, 4))]


def condition(rng):
    test = rng.choice(
        [
            lambda: generate.where("n", range=models.Range(gte=rng.randint(0, 2))),
            lambda: generate.equals("word", rng.choice(["one", "two"])),
            lambda: generate.equals("tags", "x"),
            lambda: generate.where("in.deep.n", is_empty=True),
            lambda: generate.id_condition(rng, IDS),
        ]
    )()
    return models.Filter(must_not=[test]) if rng.random() < 0.3 else models.Filter(must=[test])


def selector(rng):
    return condition(rng) if rng.random() < 0.4 else ids(rng)


def points(rng):
    return [models.PointStruct(id=each, vector=vectors(rng), payload=payload(rng)) for each in ids(rng)]


def columns(rng):
    """Points as columns, which all have the same vectors."""
    chosen = ids(rng)
    names = rng.sample([*VECTORS, *SPARSE], 2)
    return models.Batch(
        ids=chosen,
        vectors={name: [vector(rng, name) for _ in chosen] for name in names},
        payloads=[payload(rng) for _ in chosen] if rng.random() < 0.5 else None,
    )


def moved(rng):
    return [models.PointVectors(id=each, vector=vectors(rng) or {"far": vector(rng, "far")}) for each in ids(rng)]


def selected(chosen):
    """A selector as the operations of a batch have it."""
    return {"filter": chosen} if isinstance(chosen, models.Filter) else {"points": chosen}


def batch(rng):
    """Several operations in one request."""
    kinds = [
        lambda: models.UpsertOperation(upsert=models.PointsList(points=points(rng))),
        lambda: models.SetPayloadOperation(
            set_payload=models.SetPayload(payload=payload(rng), **selected(selector(rng)))
        ),
        lambda: models.OverwritePayloadOperation(
            overwrite_payload=models.SetPayload(payload=payload(rng), **selected(condition(rng)))
        ),
        lambda: models.DeletePayloadOperation(
            delete_payload=models.DeletePayload(keys=rng.sample(PATHS, 2), **selected(condition(rng)))
        ),
        lambda: models.ClearPayloadOperation(clear_payload=models.FilterSelector(filter=condition(rng))),
        lambda: models.DeleteOperation(delete=models.PointIdsList(points=ids(rng))),
        lambda: models.DeleteVectorsOperation(
            delete_vectors=models.DeleteVectors(vector=["far"], **selected(condition(rng)))
        ),
    ]
    return [rng.choice(kinds)() for _ in range(rng.randint(1, 3))]


def conditional(rng):
    """Whether points that are there are written over, and which; and whether others are made."""
    return {
        "update_filter": condition(rng) if rng.random() < 0.7 else None,
        "update_mode": rng.choice([None, *models.UpdateMode]),
    }


def change(rng):
    """One call of the client: its method and its arguments."""
    return rng.choice(
        [
            lambda: ("upsert", {"points": points(rng)}),
            lambda: ("upsert", {"points": columns(rng)}),
            lambda: ("upsert", {"points": points(rng), **conditional(rng)}),
            lambda: ("update_vectors", {"points": moved(rng)}),
            lambda: ("update_vectors", {"points": moved(rng), "update_filter": condition(rng)}),
            lambda: ("delete_vectors", {"vectors": rng.sample([*VECTORS, *SPARSE], 2), "points": selector(rng)}),
            lambda: (
                "set_payload",
                {
                    "payload": payload(rng),
                    "points": selector(rng),
                    "key": rng.choice([None, "in", "in.deep", "parts[]", "parts[0]", "word"]),
                },
            ),
            lambda: ("overwrite_payload", {"payload": payload(rng), "points": selector(rng)}),
            lambda: ("delete_payload", {"keys": rng.sample(PATHS, 2), "points": selector(rng)}),
            lambda: ("clear_payload", {"points_selector": selector(rng)}),
            lambda: ("delete", {"points_selector": selector(rng)}),
            lambda: ("batch_update_points", {"update_operations": batch(rng)}),
        ]
    )()


@pytest.fixture(scope="module")
def both(client):
    """A collection here and in the imitation."""
    name = f"updates-{uuid.uuid4().hex[:8]}"
    reference = QdrantClient(":memory:")
    try:
        for each in (client, reference):
            each.create_collection(name, vectors_config=VECTORS, sparse_vectors_config=SPARSE)
        yield client, reference, name
    finally:
        client.delete_collection(name)
        reference.close()


@given(rng=randomness())
def test_changes_leave_the_same_points(both, rng):
    client, reference, name = both
    everything = models.Filter()
    for each in (client, reference):
        each.delete(name, points_selector=models.FilterSelector(filter=everything))
    history = []
    for number in range(rng.randint(1, STEPS)):
        method, arguments = ("upsert", {"points": points(rng)}) if number == 0 else change(rng)
        history.append(f"{method}({described(arguments)})")
        about = "\n".join(history)
        results = [outcome(getattr(each, method), name, **arguments)[0] for each in (client, reference)]
        assert results[0] == results[1], about
        pages = [each.scroll(name, limit=IDS, with_vectors=True)[0] for each in (client, reference)]
        assert_same_records(*pages, about)
