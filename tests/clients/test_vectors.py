"""Named vectors, multi-vectors, sparse vectors, and points that lack some of them."""

import random

import pytest
from qdrant_client import QdrantClient, models

from conftest import IN_MEMORY

POINTS = 200
QUERIES = 25
TOLERANCE = 1e-4
SCHEMA = {
    "title": models.VectorParams(size=6, distance=models.Distance.COSINE),
    "place": models.VectorParams(size=2, distance=models.Distance.EUCLID),
    "pages": models.VectorParams(
        size=4,
        distance=models.Distance.DOT,
        multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
    ),
}
SPARSE = {"terms": models.SparseVectorParams()}


def floats(rng, size):
    return [rng.gauss(0, 1) for _ in range(size)]


def sparse(rng):
    indices = rng.sample(range(40), rng.randint(1, 8))
    return models.SparseVector(indices=indices, values=[rng.uniform(-1, 2) for _ in indices])


def random_vectors(rng):
    """Any of the vectors, perhaps none."""
    some = {
        "title": lambda: floats(rng, 6),
        "place": lambda: floats(rng, 2),
        "pages": lambda: [floats(rng, 4) for _ in range(rng.randint(1, 4))],
        "terms": lambda: sparse(rng),
    }
    return {name: make() for name, make in some.items() if rng.random() < 0.7}


def random_query(rng, using):
    return {
        "title": lambda: floats(rng, 6),
        "place": lambda: floats(rng, 2),
        "pages": lambda: [floats(rng, 4) for _ in range(rng.randint(1, 3))],
        "terms": lambda: sparse(rng),
    }[using]()


@pytest.fixture
def notes(client, name):
    """An empty collection with all kinds of vectors."""
    client.create_collection(name, vectors_config=SCHEMA, sparse_vectors_config=SPARSE)
    return name


def same_vector(left, right):
    if isinstance(left, models.SparseVector) or isinstance(right, models.SparseVector):
        pairs = [dict(zip(v.indices, v.values)) for v in (left, right)]
        return pairs[0].keys() == pairs[1].keys() and all(
            pairs[0][i] == pytest.approx(pairs[1][i], abs=TOLERANCE) for i in pairs[0]
        )
    if left and isinstance(left[0], list):
        return len(left) == len(right) and all(same_vector(a, b) for a, b in zip(left, right))
    return left == pytest.approx(right, abs=TOLERANCE)


def same_vectors(left, right):
    left, right = left or {}, right or {}
    return left.keys() == right.keys() and all(same_vector(left[key], right[key]) for key in left)


def compare(answer, reference_all, limit, about):
    """`answer` is a right top-`limit` of `reference_all`; points with equal scores may come in any order."""
    score_of = {point.id: point.score for point in reference_all}
    assert len(answer) == min(limit, len(reference_all)), about
    assert len({point.id for point in answer}) == len(answer), about
    for point, expected in zip(answer, reference_all):
        assert point.score == pytest.approx(score_of[point.id], abs=TOLERANCE), about
        assert point.score == pytest.approx(expected.score, abs=TOLERANCE), about


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_vectors_have_the_same_answers(client, notes, seed):
    rng = random.Random(seed)
    reference = QdrantClient(":memory:")
    reference.create_collection(notes, vectors_config=SCHEMA, sparse_vectors_config=SPARSE)
    both = [client, reference]
    points = [models.PointStruct(id=i, vector=random_vectors(rng)) for i in range(POINTS)]
    updates = [
        models.PointVectors(id=i, vector=random_vectors(rng) or {"title": floats(rng, 6)}) for i in range(0, POINTS, 7)
    ]
    deletions = [(["title", "terms"], rng.sample(range(POINTS), 20)), (["pages"], rng.sample(range(POINTS), 20))]
    for each in both:
        each.upsert(notes, points=points)
        each.update_vectors(notes, points=updates)
        for names, ids in deletions:
            each.delete_vectors(notes, vectors=names, points=ids)

    pages = [each.scroll(notes, limit=POINTS, with_vectors=True)[0] for each in both]
    assert [point.id for point in pages[0]] == [point.id for point in pages[1]]
    for left, right in zip(*pages):
        assert same_vectors(left.vector, right.vector), f"seed {seed}, point {left.id}: {left.vector}, {right.vector}"

    nonempty = 0
    for number in range(QUERIES):
        using = rng.choice(["title", "place", "pages", "terms"])
        query, limit = random_query(rng, using), rng.choice([1, 5, 20])
        about = f"seed {seed}, query {number} of '{using}'"
        exact = models.SearchParams(exact=True)
        answer = client.query_points(notes, query=query, using=using, limit=limit, search_params=exact).points
        everything = reference.query_points(notes, query=query, using=using, limit=POINTS).points
        compare(answer, everything, limit, about)
        nonempty += bool(answer)
    assert nonempty > QUERIES / 2
    reference.close()


def test_a_collection_tells_all_its_vectors(client, notes):
    params = client.get_collection(notes).config.params
    assert params.vectors.keys() == SCHEMA.keys()
    for name, expected in SCHEMA.items():
        assert (params.vectors[name].size, params.vectors[name].distance) == (expected.size, expected.distance)
    assert params.vectors["pages"].multivector_config.comparator == models.MultiVectorComparator.MAX_SIM
    assert params.sparse_vectors.keys() == {"terms"}


def test_vectors_come_by_name(client, notes):
    client.upsert(
        notes,
        points=[
            models.PointStruct(id=1, vector={"place": [1.0, 2.0], "pages": [[1.0, 0.0, 0.0, 0.0]]}),
            models.PointStruct(id=2, vector={"place": [3.0, 4.0]}),
            models.PointStruct(id=3, vector={}),
        ],
    )
    places = client.retrieve(notes, ids=[1, 2, 3], with_vectors=["place"])
    assert [point.vector for point in places] == [{"place": [1.0, 2.0]}, {"place": [3.0, 4.0]}, {}]
    everything = client.retrieve(notes, ids=[1], with_vectors=True)[0].vector
    assert everything == {"place": [1.0, 2.0], "pages": [[1.0, 0.0, 0.0, 0.0]]}
    assert client.retrieve(notes, ids=[1])[0].vector is None


def test_points_in_columns(client, notes):
    client.upsert(
        notes,
        points=models.Batch(
            ids=[1, 2],
            vectors={"place": [[1.0, 2.0], [3.0, 4.0]], "pages": [[[1.0, 1.0, 1.0, 1.0]], [[2.0, 0.0, 0.0, 0.0]]]},
        ),
    )
    assert client.retrieve(notes, ids=[2], with_vectors=["pages"])[0].vector == {"pages": [[2.0, 0.0, 0.0, 0.0]]}


def test_a_query_by_id_uses_the_vector_that_is_named(client, notes):
    client.upsert(
        notes,
        points=[
            models.PointStruct(id=i, vector={"place": [float(i), 0.0], "title": floats(random.Random(i), 6)})
            for i in range(1, 6)
        ],
    )
    found = client.query_points(notes, query=3, using="place", limit=2).points
    assert {point.id for point in found} == {2, 4}


def test_vectors_of_one_name_are_deleted_by_filter(client, notes):
    client.upsert(
        notes,
        points=[
            models.PointStruct(id=i, vector={"place": [float(i), 0.0]}, payload={"odd": i % 2 == 1}) for i in range(6)
        ],
    )
    odd = models.Filter(must=[models.FieldCondition(key="odd", match=models.MatchValue(value=True))])
    client.delete_vectors(notes, vectors=["place"], points=odd)
    found = client.query_points(notes, query=[0.0, 0.0], using="place", limit=10).points
    assert [point.id for point in found] == [0, 2, 4]
    assert client.count(notes).count == 6


@pytest.mark.skipif(IN_MEMORY, reason="the imitation does not tell what it was asked for")
@pytest.mark.parametrize(
    "asked",
    [
        models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99)),
        models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True)),
    ],
)
def test_quantized_vectors_are_found_exactly(client, name, asked):
    """More points than a write buffer keeps unindexed do not matter: scores are those of full vectors."""
    config = models.VectorParams(size=32, distance=models.Distance.COSINE)
    client.create_collection(name, vectors_config=config, quantization_config=asked)
    told = client.get_collection(name).config.quantization_config
    assert type(told) is type(asked)
    rng = random.Random(7)
    vectors = [floats(rng, 32) for _ in range(900)]
    client.upload_collection(name, vectors=vectors, ids=range(900), wait=True)
    params = models.SearchParams(quantization=models.QuantizationSearchParams(rescore=True, oversampling=4.0))
    for i in range(0, 900, 90):
        best = client.query_points(name, query=vectors[i], limit=3, search_params=params).points[0]
        assert (best.id, best.score) == (i, pytest.approx(1.0, abs=1e-4))
