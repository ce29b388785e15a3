"""Points: write, read back, change, delete."""

import uuid

import pytest
from qdrant_client import models

from conftest import CITIES


def ids(records):
    return sorted(record.id for record in records)


def test_an_acknowledged_write_is_read_back(client, collection):
    answer = client.upsert(
        collection, points=[models.PointStruct(id=7, vector=[0.0, 3.0, 0.0, 4.0], payload={"a": {"b": [1, None, "x"]}})]
    )
    assert answer.status == models.UpdateStatus.COMPLETED

    [point] = client.retrieve(collection, ids=[7], with_vectors=True)
    assert point.id == 7
    assert point.payload == {"a": {"b": [1, None, "x"]}}
    # Cosine collections keep unit vectors, as Qdrant does.
    assert point.vector == pytest.approx([0.0, 0.6, 0.0, 0.8], abs=1e-6)


def test_retrieve_leaves_out_what_is_not_there(client, cities):
    found = client.retrieve(cities, ids=[4, 99, 2])
    assert ids(found) == [2, 4]
    assert all(point.vector is None for point in found)


def test_retrieve_without_payload(client, cities):
    [point] = client.retrieve(cities, ids=[1], with_payload=False)
    assert not point.payload


def test_retrieve_of_chosen_payload_fields(client, cities):
    [point] = client.retrieve(cities, ids=[1], with_payload=["city", "people"])
    assert point.payload == {"city": "Berlin", "people": 3_700_000}


def test_ids_may_be_uuids_and_large_numbers(client, collection):
    big, name = 2**64 - 1, str(uuid.UUID(int=0x1234_5678_9ABC_4DEF_8123_4567_89AB_CDEF))
    client.upsert(collection, points=models.Batch(ids=[big, name], vectors=[[1, 0, 0, 0], [0, 1, 0, 0]]))

    assert {point.id for point in client.retrieve(collection, ids=[big, name])} == {big, name}
    client.delete(collection, points_selector=[name])
    assert {point.id for point in client.retrieve(collection, ids=[big, name])} == {big}


def test_a_second_upsert_replaces_vector_and_payload(client, cities):
    client.upsert(cities, points=[models.PointStruct(id=1, vector=[1.0, 0.0, 0.0, 0.0], payload={"new": True})])

    [point] = client.retrieve(cities, ids=[1], with_vectors=True)
    assert point.payload == {"new": True}
    assert point.vector == pytest.approx([1.0, 0.0, 0.0, 0.0], abs=1e-6)
    assert client.count(cities).count == 6


def test_the_last_of_equal_ids_in_a_batch_wins(client, collection):
    client.upsert(
        collection,
        points=[models.PointStruct(id=1, vector=[1, 0, 0, 0], payload={"n": n}) for n in range(5)],
    )
    assert client.count(collection).count == 1
    assert client.retrieve(collection, ids=[1])[0].payload == {"n": 4}


def test_upload_in_many_batches_stores_every_point_once(client, collection):
    points = [models.PointStruct(id=i, vector=[1.0, i, 0.0, 1.0], payload={"i": i}) for i in range(500)]
    client.upload_points(collection, points=iter(points), batch_size=37, wait=True)

    assert client.count(collection).count == 500
    found = client.retrieve(collection, ids=list(range(500)))
    assert {point.id: point.payload["i"] for point in found} == {i: i for i in range(500)}


def test_delete_by_id(client, cities):
    client.delete(cities, points_selector=[2, 4, 99])
    assert ids(client.retrieve(cities, ids=list(range(1, 7)))) == [1, 3, 5, 6]
    assert client.count(cities).count == 4
    found = client.query_points(cities, query=CITIES[1][1], limit=10).points
    assert ids(found) == [1, 3, 5, 6]


def test_delete_by_filter(client, cities):
    german = models.Filter(must=[models.FieldCondition(key="country", match=models.MatchValue(value="DE"))])
    client.delete(cities, points_selector=models.FilterSelector(filter=german))
    assert ids(client.scroll(cities, limit=10)[0]) == [2, 3, 5, 6]
    assert client.count(cities, count_filter=german).count == 0


def test_a_deleted_point_can_be_written_again(client, cities):
    client.delete(cities, points_selector=[1])
    client.upsert(cities, points=[models.PointStruct(id=1, vector=[0, 0, 0, 1], payload={"again": 1})])
    assert client.retrieve(cities, ids=[1])[0].payload == {"again": 1}


def test_update_vectors_keeps_the_payload_and_moves_the_point(client, cities):
    client.update_vectors(cities, points=[models.PointVectors(id=5, vector=[0.0, 0.0, -1.0, 0.0])])

    [point] = client.retrieve(cities, ids=[5], with_vectors=True)
    assert point.vector == pytest.approx([0.0, 0.0, -1.0, 0.0], abs=1e-6)
    assert point.payload["city"] == "Porto"
    best = client.query_points(cities, query=[0.0, 0.0, -1.0, 0.0], limit=1).points[0]
    assert best.id == 5
    assert best.score == pytest.approx(1.0, abs=1e-5)


def test_count_with_and_without_filter(client, cities):
    ports = models.Filter(must=[models.FieldCondition(key="tags", match=models.MatchValue(value="port"))])
    assert client.count(cities, exact=True).count == 6
    assert client.count(cities, count_filter=ports, exact=True).count == 3
