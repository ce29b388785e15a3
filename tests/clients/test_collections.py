"""Collections: make, look at, list, remove."""

import time

import pytest
from qdrant_client import models

from conftest import REQUEST_SECONDS


@pytest.mark.parametrize("distance", list(models.Distance))
def test_a_new_collection_tells_what_was_asked_for(client, name, distance):
    assert client.create_collection(name, vectors_config=models.VectorParams(size=4, distance=distance))

    info = client.get_collection(name)
    assert info.config.params.vectors.size == 4
    assert info.config.params.vectors.distance == distance
    assert info.points_count == 0
    assert_green(client, name)


def assert_green(client, name):
    """Green is a collection of which every partition has an owner and a reader, which may take a moment."""
    deadline = time.monotonic() + REQUEST_SECONDS
    while (status := client.get_collection(name).status) != models.CollectionStatus.GREEN:
        assert time.monotonic() < deadline, status


def test_a_collection_exists_until_it_is_deleted(client, name):
    assert not client.collection_exists(name)

    client.create_collection(name, vectors_config=models.VectorParams(size=4, distance=models.Distance.DOT))
    assert client.collection_exists(name)
    assert name in [each.name for each in client.get_collections().collections]

    assert client.delete_collection(name)
    assert not client.collection_exists(name)
    assert name not in [each.name for each in client.get_collections().collections]


def test_a_collection_made_again_is_empty(client, cities):
    client.delete_collection(cities)
    client.create_collection(cities, vectors_config=models.VectorParams(size=4, distance=models.Distance.COSINE))
    assert client.count(cities).count == 0
    assert client.retrieve(cities, ids=[1, 2, 3]) == []


def test_the_number_of_points_is_known(client, cities):
    assert client.get_collection(cities).points_count == 6


def test_collections_do_not_see_one_another(client, cities, name):
    other = f"{name}-other"
    client.create_collection(other, vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))
    try:
        client.upsert(other, points=[models.PointStruct(id=1, vector=[1.0, 0.0], payload={"city": "elsewhere"})])
        assert client.retrieve(cities, ids=[1])[0].payload["city"] == "Berlin"
        assert client.retrieve(other, ids=[1])[0].payload["city"] == "elsewhere"
        assert client.count(other).count == 1
    finally:
        client.delete_collection(other)
    assert client.count(cities).count == 6
