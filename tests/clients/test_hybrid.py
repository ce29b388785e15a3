"""Sparse vectors, texts as vectors, and the fusion of several searches, compared with the client's in-process imitation."""

import os
import random

import pytest
from qdrant_client import QdrantClient, models

from conftest import IN_MEMORY, REQUEST_SECONDS

POINTS = 200
QUERIES = 25
DIMENSIONS = 8
TERMS = 60
TOLERANCE = 1e-4
BM25 = "Qdrant/bm25"

TEXTS = {
    1: "The quick brown fox jumps over the lazy dog",
    2: "A fox and a hen in the hen house",
    3: "Dogs are lazy on hot days",
    4: "Sailing the seven seas",
}


def random_dense(rng):
    return [rng.gauss(0, 1) for _ in range(DIMENSIONS)]


def random_sparse(rng, terms):
    """Some terms are in many vectors, most in few."""
    indices = sorted({int(TERMS * rng.random() ** 2) for _ in range(terms)})
    return models.SparseVector(indices=indices, values=[round(rng.uniform(0.1, 3), 4) for _ in indices])


def fill(client, name, modifier=None, **options):
    rng = random.Random(7)
    client.create_collection(
        name,
        vectors_config={"dense": models.VectorParams(size=DIMENSIONS, distance=models.Distance.COSINE)},
        sparse_vectors_config={"terms": models.SparseVectorParams(modifier=modifier)},
        **options,
    )
    points = [
        models.PointStruct(
            id=i,
            vector={"dense": random_dense(rng), "terms": random_sparse(rng, 6)},
            payload={"even": i % 2 == 0},
        )
        for i in range(POINTS)
    ]
    client.upsert(name, points=points)


@pytest.fixture
def local():
    """The same requests to the client's in-process imitation."""
    made = QdrantClient(":memory:")
    yield made
    made.close()


def scores(answer):
    return {point.id: point.score for point in answer.points}


def assert_same(client, local, name, **query):
    """The same points with the same scores, best first. Equally good ones may come in any order."""
    found, expected = (c.query_points(name, **query).points for c in (client, local))
    assert [p.score for p in found] == pytest.approx([p.score for p in expected], abs=TOLERANCE)
    of_id = {p.id: p.score for p in expected}
    last = expected[-1].score if expected else 0
    for point in found:
        # One that is as good as the last may have been cut off there.
        assert point.score == pytest.approx(of_id.get(point.id, last), abs=TOLERANCE)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_sparse_searches_find_the_same(client, local, name, seed):
    rng = random.Random(seed)
    for each in (client, local):
        fill(each, name)
    even = models.Filter(must=[models.FieldCondition(key="even", match=models.MatchValue(value=True))])
    for n in range(QUERIES):
        query = random_sparse(rng, 4)
        query_filter = even if n % 2 else None
        found = assert_same(client, local, name, query=query, using="terms", query_filter=query_filter, limit=10)
        assert found


def test_rare_terms_weigh_more(client, local, name):
    """Weights are those of one partition, so one has all points here."""
    rng = random.Random(3)
    fill(client, name, models.Modifier.IDF, shard_number=1)
    fill(local, name, models.Modifier.IDF)
    for _ in range(QUERIES):
        assert_same(client, local, name, query=random_sparse(rng, 4), using="terms", limit=10)


@pytest.mark.parametrize("fusion", models.Fusion)
def test_fused_searches_find_the_same(client, local, name, fusion):
    rng = random.Random(11)
    for each in (client, local):
        fill(each, name)
    for _ in range(QUERIES):
        prefetch = [
            models.Prefetch(query=random_dense(rng), using="dense", limit=20),
            models.Prefetch(query=random_sparse(rng, 4), using="terms", limit=20),
        ]
        assert_same(client, local, name, prefetch=prefetch, query=models.FusionQuery(fusion=fusion), limit=50)


def test_what_one_search_finds_another_ranks(client, local, name):
    rng = random.Random(13)
    for each in (client, local):
        fill(each, name)
    for _ in range(QUERIES):
        prefetch = models.Prefetch(query=random_sparse(rng, 3), using="terms", limit=15)
        found = assert_same(client, local, name, prefetch=prefetch, query=random_dense(rng), using="dense", limit=5)
        among = {p.id for p in local.query_points(name, query=prefetch.query, using="terms", limit=15).points}
        assert {p.id for p in found} <= among


@pytest.fixture
def inferring(client, url):
    """The client, leaving it to the server to make vectors of texts."""
    if IN_MEMORY:
        pytest.skip("the client makes no vectors of texts by itself")
    made = QdrantClient(
        url=url, api_key=os.environ.get("BRAINY_API_KEY"), timeout=REQUEST_SECONDS, cloud_inference=True
    )
    yield made
    made.close()


@pytest.fixture
def texts(inferring, name):
    """Texts with vectors that the server makes, and dense ones that order them by id."""
    inferring.create_collection(
        name,
        vectors_config={"dense": models.VectorParams(size=2, distance=models.Distance.DOT)},
        sparse_vectors_config={"text": models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
    points = [
        models.PointStruct(
            id=i,
            vector={"dense": [1.0, float(i)], "text": models.Document(text=text, model=BM25)},
            payload={"text": text},
        )
        for i, text in TEXTS.items()
    ]
    inferring.upsert(name, points=points)
    return name


def test_texts_are_found_by_their_words(inferring, texts):
    def found(text):
        query = models.Document(text=text, model=BM25)
        return [p.id for p in inferring.query_points(texts, query=query, using="text", limit=10).points]

    assert sorted(found("lazy dogs")) == [1, 3]
    assert found("the hens") == [2]
    assert found("sail") == [4]
    assert found("of the and") == []


def test_words_and_vectors_together(inferring, texts):
    answer = inferring.query_points(
        texts,
        prefetch=[
            models.Prefetch(query=models.Document(text="hen", model=BM25), using="text"),
            models.Prefetch(query=[0.0, 1.0], using="dense", limit=3),
        ],
        query=models.RrfQuery(rrf=models.Rrf(k=10, weights=[2.0, 1.0])),
        with_payload=True,
    )
    # Hens: 2. Dense: 4, 3, 2.
    expected = {2: 1 / (1 / 2 + 9) + 1 / 12, 4: 1 / 10, 3: 1 / 11}
    assert [p.id for p in answer.points] == [2, 4, 3]
    assert scores(answer) == pytest.approx(expected)
    assert answer.points[0].payload == {"text": TEXTS[2]}
