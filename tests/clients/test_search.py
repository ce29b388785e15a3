"""Search: order, scores, limits, what comes along."""

import numpy as np
import pytest
from qdrant_client import models

from conftest import CITIES

QUERY = [0.2, 0.1, 0.9, 0.7]
VECTORS = {i: np.array(vector) for i, vector, _ in CITIES}


def cosine(left, right):
    return float(left @ right / (np.linalg.norm(left) * np.linalg.norm(right)))


def by_similarity(to, leave_out=()):
    """Ids of the cities from the most to the least similar."""
    to = np.array(to)
    return sorted((i for i in VECTORS if i not in leave_out), key=lambda i: -cosine(VECTORS[i], to))


def test_the_best_come_first_with_their_scores(client, cities):
    found = client.query_points(cities, query=QUERY, limit=6).points
    assert [point.id for point in found] == by_similarity(QUERY)
    for point in found:
        assert point.score == pytest.approx(cosine(VECTORS[point.id], np.array(QUERY)), abs=1e-4)


@pytest.mark.parametrize("limit", [1, 3, 6, 50])
def test_limit(client, cities, limit):
    found = client.query_points(cities, query=QUERY, limit=limit).points
    assert [point.id for point in found] == by_similarity(QUERY)[:limit]


def test_offset_continues_where_a_page_ended(client, cities):
    pages = [client.query_points(cities, query=QUERY, limit=2, offset=offset).points for offset in (0, 2, 4, 6)]
    assert [len(page) for page in pages] == [2, 2, 2, 0]
    assert [point.id for page in pages for point in page] == by_similarity(QUERY)


def test_score_threshold_for_a_similarity(client, cities):
    scores = sorted((cosine(vector, np.array(QUERY)) for vector in VECTORS.values()), reverse=True)
    threshold = (scores[2] + scores[3]) / 2
    found = client.query_points(cities, query=QUERY, limit=6, score_threshold=threshold).points
    assert [point.id for point in found] == by_similarity(QUERY)[:3]


def test_score_threshold_for_a_distance_keeps_the_near_ones(client, name):
    client.create_collection(name, vectors_config=models.VectorParams(size=2, distance=models.Distance.EUCLID))
    client.upsert(name, points=models.Batch(ids=[1, 2, 3], vectors=[[1.0, 0.0], [2.0, 0.0], [5.0, 0.0]]))
    found = client.query_points(name, query=[0.0, 0.0], limit=3, score_threshold=2.5).points
    assert [(point.id, point.score) for point in found] == [(1, pytest.approx(1.0)), (2, pytest.approx(2.0))]


def test_query_by_id_uses_its_vector_and_leaves_it_out(client, cities):
    found = client.query_points(cities, query=4, limit=6).points
    assert [point.id for point in found] == by_similarity(VECTORS[4], leave_out=[4])


def test_query_with_filter_searches_only_what_matches(client, cities):
    german = models.Filter(must=[models.FieldCondition(key="country", match=models.MatchValue(value="DE"))])
    found = client.query_points(cities, query=QUERY, query_filter=german, limit=6).points
    assert [point.id for point in found] == [i for i in by_similarity(QUERY) if i in (1, 4)]


def test_query_with_a_filter_that_nothing_matches(client, cities):
    nobody = models.Filter(must=[models.FieldCondition(key="city", match=models.MatchValue(value="Atlantis"))])
    assert client.query_points(cities, query=QUERY, query_filter=nobody, limit=6).points == []


def test_payload_and_vectors_come_as_asked(client, cities):
    def best(**options):
        return client.query_points(cities, query=CITIES[0][1], limit=1, **options).points[0]

    assert best().payload == CITIES[0][2]
    assert best().vector is None
    assert not best(with_payload=False).payload
    assert best(with_payload=["city"]).payload == {"city": "Berlin"}
    assert best(with_payload=models.PayloadSelectorInclude(include=["city", "people"])).payload == {
        "city": "Berlin",
        "people": 3_700_000,
    }
    without = best(with_payload=models.PayloadSelectorExclude(exclude=["city", "people"])).payload
    assert without == {"country": "DE", "tags": ["capital", "river"]}
    unit = VECTORS[1] / np.linalg.norm(VECTORS[1])
    assert best(with_vectors=True).vector == pytest.approx(unit.tolist(), abs=1e-5)


def test_a_batch_answers_each_query_in_its_place(client, cities):
    requests = [models.QueryRequest(query=vector, limit=2, with_payload=["city"]) for _, vector, _ in CITIES]
    requests.append(models.QueryRequest(query=QUERY, limit=6))
    answers = client.query_batch_points(cities, requests=requests)

    assert len(answers) == len(requests)
    for (i, vector, _), answer in zip(CITIES, answers):
        assert [point.id for point in answer.points] == by_similarity(vector)[:2]
        assert answer.points[0].id == i
    assert [point.id for point in answers[-1].points] == by_similarity(QUERY)


def test_search_in_an_empty_collection(client, collection):
    assert client.query_points(collection, query=QUERY, limit=3).points == []


def test_a_write_is_found_by_the_next_search(client, collection):
    """Every acknowledged write is visible to the search that follows it, whichever nodes serve the two."""
    for i in range(40):
        angle = i * np.pi / 50
        vector = [float(np.cos(angle)), float(np.sin(angle)), 0.0, 0.0]
        client.upsert(collection, points=[models.PointStruct(id=i, vector=vector)])
        best = client.query_points(collection, query=vector, limit=1).points[0]
        assert (best.id, best.score) == (i, pytest.approx(1.0, abs=1e-4))
