"""Errors: the right status, a text that says what is wrong, and nothing written."""

import os

import httpx
import pytest
from qdrant_client import models
from qdrant_client.http.exceptions import UnexpectedResponse

VECTOR = [0.1, 0.2, 0.3, 0.4]


@pytest.fixture
def client(rest):
    """Statuses are those of HTTP."""
    return rest


def refused(call, *statuses, names):
    """Asserts that `call` fails with one of `statuses` and an error text that holds `names`."""
    with pytest.raises(UnexpectedResponse) as caught:
        call()
    assert caught.value.status_code in statuses, caught.value
    text = caught.value.structured()["status"]["error"]
    assert names.lower() in text.lower(), text


@pytest.fixture
def send(url):
    """Sends bytes as they are, for what the client would not send."""
    key = os.environ.get("BRAINY_API_KEY")
    headers = {"content-type": "application/json"} | ({"api-key": key} if key else {})
    with httpx.Client(base_url=url, headers=headers, timeout=60) as http:
        yield lambda method, path, body: http.request(method, path, content=body)


CALLS_ON_A_COLLECTION = {
    "get_collection": lambda client, name: client.get_collection(name),
    "upsert": lambda client, name: client.upsert(name, points=[models.PointStruct(id=1, vector=VECTOR)]),
    "retrieve": lambda client, name: client.retrieve(name, ids=[1]),
    "query_points": lambda client, name: client.query_points(name, query=VECTOR),
    "scroll": lambda client, name: client.scroll(name),
    "count": lambda client, name: client.count(name),
    "delete": lambda client, name: client.delete(name, points_selector=[1]),
    "set_payload": lambda client, name: client.set_payload(name, payload={"a": 1}, points=[1]),
}


@pytest.mark.parametrize("call", CALLS_ON_A_COLLECTION)
def test_an_unknown_collection_is_404(client, name, call):
    refused(lambda: CALLS_ON_A_COLLECTION[call](client, name), 404, names=name)


def test_a_collection_cannot_be_made_twice(client, collection):
    config = models.VectorParams(size=4, distance=models.Distance.COSINE)
    refused(lambda: client.create_collection(collection, vectors_config=config), 409, names=collection)


@pytest.mark.parametrize("size", [0, 10_000_000])
def test_an_impossible_dimension_is_refused(client, name, size):
    config = models.VectorParams(size=size, distance=models.Distance.DOT)
    refused(lambda: client.create_collection(name, vectors_config=config), 400, 422, names="size")
    assert not client.collection_exists(name)


def test_one_vector_of_the_wrong_dimension_refuses_the_whole_batch(client, collection):
    points = [models.PointStruct(id=i, vector=VECTOR) for i in range(30)]
    points.append(models.PointStruct(id=30, vector=VECTOR[:3]))
    refused(lambda: client.upsert(collection, points=points), 400, names="dimension")
    assert client.count(collection).count == 0


def test_a_query_of_the_wrong_dimension_is_refused(client, cities):
    refused(lambda: client.query_points(cities, query=VECTOR + [0.5]), 400, names="dimension")


def test_a_query_by_an_unknown_id_is_404(client, cities):
    refused(lambda: client.query_points(cities, query=999), 404, names="999")


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1e39", b'"x"', b"null"])
def test_what_is_no_finite_float32_is_refused(client, collection, send, number):
    body = b'{"points": [{"id": 1, "vector": [1, 2, 3, 4]}, {"id": 2, "vector": [1, %s, 3, 4]}]}' % number
    answer = send("PUT", f"/collections/{collection}/points?wait=true", body)
    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["status"]["error"]
    assert client.count(collection).count == 0

    answer = send("POST", f"/collections/{collection}/points/query", b'{"query": [1, %s, 3, 4]}' % number)
    assert answer.status_code in (400, 422), answer.text


@pytest.mark.parametrize("limit", [0, 1_000_000_000])
def test_a_limit_out_of_bounds_is_refused(client, cities, limit):
    refused(lambda: client.query_points(cities, query=VECTOR, limit=limit), 400, 422, names="limit")


@pytest.mark.parametrize("point_id", [b"-1", b'"not-a-uuid"', b"1.5", b"18446744073709551616"])
def test_an_id_that_is_neither_number_nor_uuid_is_refused(client, collection, send, point_id):
    body = b'{"points": [{"id": %s, "vector": [1, 2, 3, 4]}]}' % point_id
    answer = send("PUT", f"/collections/{collection}/points?wait=true", body)
    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["status"]["error"]
    assert client.count(collection).count == 0


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"points": 5}'])
def test_a_malformed_body_is_refused(client, collection, send, body):
    answer = send("PUT", f"/collections/{collection}/points?wait=true", body)
    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["status"]["error"]


def test_an_unknown_filter_condition_is_refused_and_not_ignored(client, cities, send):
    body = b'{"filter": {"must": [{"key": "city", "resembles": "Berlin"}]}}'
    answer = send("POST", f"/collections/{cities}/points/count", body)
    assert answer.status_code in (400, 422), answer.text
