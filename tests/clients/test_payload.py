"""Payload: set, overwrite, delete keys, clear; by id and by filter."""

from qdrant_client import models

from conftest import CITIES

PAYLOADS = {i: payload for i, _, payload in CITIES}
GERMAN = models.Filter(must=[models.FieldCondition(key="country", match=models.MatchValue(value="DE"))])


def payloads(client, cities):
    return {point.id: point.payload or {} for point in client.retrieve(cities, ids=list(PAYLOADS))}


def changed(**by_id):
    """What all payloads are when these changed, keyed as p1, p2."""
    return PAYLOADS | {int(key[1:]): value for key, value in by_id.items()}


def test_set_payload_merges(client, cities):
    client.set_payload(cities, payload={"people": 3_800_000, "mayor": "yes"}, points=[1])
    assert payloads(client, cities) == changed(p1=PAYLOADS[1] | {"people": 3_800_000, "mayor": "yes"})


def test_set_payload_with_null_removes_a_key(client, cities):
    client.set_payload(cities, payload={"tags": None, "country": "de"}, points=[1])
    assert payloads(client, cities)[1] == {"city": "Berlin", "country": "de", "people": 3_700_000}


def test_set_payload_by_filter(client, cities):
    client.set_payload(cities, payload={"eu": True}, points=GERMAN)
    assert payloads(client, cities) == changed(p1=PAYLOADS[1] | {"eu": True}, p4=PAYLOADS[4] | {"eu": True})


def test_overwrite_payload_replaces(client, cities):
    client.overwrite_payload(cities, payload={"only": "this"}, points=[2, 3])
    assert payloads(client, cities) == changed(p2={"only": "this"}, p3={"only": "this"})


def test_delete_payload_removes_keys(client, cities):
    client.delete_payload(cities, keys=["people", "tags", "absent"], points=[1, 5])
    assert payloads(client, cities) == changed(
        p1={"city": "Berlin", "country": "DE"}, p5={"city": "Porto", "country": "PT"}
    )


def test_delete_payload_by_filter(client, cities):
    client.delete_payload(cities, keys=["country"], points=GERMAN)
    assert client.count(cities, count_filter=GERMAN).count == 0
    assert payloads(client, cities)[4] == {key: value for key, value in PAYLOADS[4].items() if key != "country"}


def test_clear_payload(client, cities):
    client.clear_payload(cities, points_selector=[1, 2])
    assert payloads(client, cities) == changed(p1={}, p2={})


def test_a_changed_payload_is_what_filters_see(client, cities):
    client.set_payload(cities, payload={"country": "DE"}, points=[5])
    assert client.count(cities, count_filter=GERMAN).count == 3
    found = client.query_points(cities, query=CITIES[4][1], query_filter=GERMAN, limit=10).points
    assert [found[0].id, len(found)] == [5, 3]


def test_vectors_stay_when_payloads_change(client, cities):
    before = {point.id: point.vector for point in client.retrieve(cities, ids=list(PAYLOADS), with_vectors=True)}
    client.overwrite_payload(cities, payload={"x": 1}, points=[1])
    client.clear_payload(cities, points_selector=[2])
    client.delete_payload(cities, keys=["city"], points=[3])
    after = {point.id: point.vector for point in client.retrieve(cities, ids=list(PAYLOADS), with_vectors=True)}
    assert after == before
