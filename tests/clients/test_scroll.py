"""Scroll: every point once, in the order of ids, page by page."""

import pytest
from qdrant_client import models


def pages(client, collection, **options):
    """All pages, each as its ids."""
    offset, result = None, []
    while True:
        records, offset = client.scroll(collection, offset=offset, **options)
        result.append([record.id for record in records])
        if offset is None:
            return result


@pytest.fixture
def numbered(client, collection):
    """A hundred points with ids that are not dense."""
    points = [
        models.PointStruct(id=i * 3 + 1, vector=[1.0, i, 0.0, 0.0], payload={"parity": i % 2, "i": i})
        for i in range(100)
    ]
    client.upsert(collection, points=points)
    return collection


@pytest.mark.parametrize("limit", [1, 7, 50, 100, 1000])
def test_pages_join_to_the_whole(client, numbered, limit):
    found = pages(client, numbered, limit=limit)
    assert [i for page in found for i in page] == [i * 3 + 1 for i in range(100)]
    assert all(len(page) == limit for page in found[:-1])


def test_pages_with_a_filter(client, numbered):
    odd = models.Filter(must=[models.FieldCondition(key="parity", match=models.MatchValue(value=1))])
    found = pages(client, numbered, scroll_filter=odd, limit=9)
    assert [i for page in found for i in page] == [i * 3 + 1 for i in range(1, 100, 2)]


def test_a_page_starts_at_the_given_id(client, numbered):
    records, following = client.scroll(numbered, offset=10, limit=2)
    assert [record.id for record in records] == [10, 13]
    assert following == 16


def test_payload_and_vectors_come_as_asked(client, numbered):
    [record], _ = client.scroll(numbered, limit=1, with_payload=["i"], with_vectors=True)
    assert record.payload == {"i": 0}
    assert record.vector == pytest.approx([1.0, 0.0, 0.0, 0.0])
    [record], _ = client.scroll(numbered, limit=1, with_payload=False)
    assert not record.payload
    assert record.vector is None


def test_an_empty_collection_has_one_empty_page(client, collection):
    assert pages(client, collection, limit=5) == [[]]
