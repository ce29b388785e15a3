"""Filters: each condition, each way to combine them, on a collection where the answer is known."""

import pytest
from qdrant_client.models import (
    FieldCondition,
    Filter,
    HasIdCondition,
    IsEmptyCondition,
    IsNullCondition,
    MatchAny,
    MatchExcept,
    MatchPrefix,
    MatchText,
    MatchValue,
    MinShould,
    PayloadField,
    PointStruct,
    Range,
)


def where(key, match=None, **bounds):
    return FieldCondition(key=key, match=match, range=Range(**bounds) if bounds else None)


CAPITAL = where("tags", MatchValue(value="capital"))
PORT = where("tags", MatchValue(value="port"))
LARGE = where("people", gte=1_900_000)

CASES = {
    "value": (Filter(must=[where("city", MatchValue(value="London"))]), {2}),
    "value in a list": (Filter(must=[PORT]), {2, 4, 5}),
    "number": (Filter(must=[where("people", MatchValue(value=230_000))]), {5}),
    "any": (Filter(must=[where("country", MatchAny(any=["DE", "PT", "XX"]))]), {1, 4, 5}),
    "any of a list": (Filter(must=[where("tags", MatchAny(any=["river", "port"]))]), {1, 2, 4, 5}),
    "except": (Filter(must=[where("country", MatchExcept(**{"except": ["DE", "PT"]}))]), {2, 3}),
    "nested key": (Filter(must=[where("note.text", MatchValue(value="nowhere"))]), {6}),
    "nested range": (Filter(must=[where("note.year", lt=1901)]), {6}),
    "gte": (Filter(must=[where("people", gte=8_900_000)]), {2, 3}),
    "gt": (Filter(must=[where("people", gt=8_900_000)]), {3}),
    "lte": (Filter(must=[where("people", lte=1_900_000)]), {4, 5}),
    "lt": (Filter(must=[where("people", lt=1_900_000)]), {5}),
    "between": (Filter(must=[where("people", gt=230_000, lt=8_900_000)]), {1, 4}),
    "ids": (Filter(must=[HasIdCondition(has_id=[2, 6, 99])]), {2, 6}),
    "is empty": (Filter(must=[IsEmptyCondition(is_empty=PayloadField(key="city"))]), {6}),
    "must": (Filter(must=[PORT, LARGE]), {2, 4}),
    "should": (Filter(should=[CAPITAL, where("city", MatchValue(value="Porto"))]), {1, 2, 3, 5}),
    "must not": (Filter(must_not=[PORT]), {1, 3, 6}),
    "must, should, must not": (
        Filter(must=[LARGE], should=[CAPITAL, PORT], must_not=[where("country", MatchValue(value="GB"))]),
        {1, 3, 4},
    ),
    "nested": (Filter(must=[Filter(should=[CAPITAL, PORT])], must_not=[Filter(must=[CAPITAL, PORT])]), {1, 3, 4, 5}),
    "words": (Filter(must=[where("city", MatchText(text="london"))]), {2}),
    "prefix": (Filter(must=[where("tags", MatchPrefix(prefix="ca"))]), {1, 2, 3}),
    "min should": (Filter(min_should=MinShould(conditions=[CAPITAL, PORT, LARGE], min_count=2)), {1, 2, 3, 4}),
    "empty": (Filter(), {1, 2, 3, 4, 5, 6}),
}


@pytest.mark.parametrize("indexed", [False, True], ids=["plain", "indexed"])
@pytest.mark.parametrize("case", CASES)
def test_filter(client, cities, case, indexed):
    condition, expected = CASES[case]
    if indexed:
        for field, kind in {"city": "text", "tags": "keyword", "people": "integer", "country": "keyword"}.items():
            client.create_payload_index(cities, field_name=field, field_schema=kind)
    found, following = client.scroll(cities, scroll_filter=condition, limit=100)
    assert {point.id for point in found} == expected
    assert following is None
    assert client.count(cities, count_filter=condition, exact=True).count == len(expected)
    searched = client.query_points(cities, query=[0.1, 0.2, 0.3, 0.4], query_filter=condition, limit=100).points
    assert {point.id for point in searched} == expected


def test_booleans_and_nulls(client, collection):
    payloads = [{"on": True}, {"on": False}, {"on": None}, {}, {"on": []}]
    points = [PointStruct(id=i, vector=[1, i, 0, 0], payload=payload) for i, payload in enumerate(payloads)]
    client.upsert(collection, points=points)

    def ids(condition):
        return {point.id for point in client.scroll(collection, scroll_filter=Filter(must=[condition]), limit=10)[0]}

    assert ids(where("on", MatchValue(value=True))) == {0}
    assert ids(where("on", MatchValue(value=False))) == {1}
    assert ids(IsNullCondition(is_null=PayloadField(key="on"))) == {2}
    assert ids(IsEmptyCondition(is_empty=PayloadField(key="on"))) == {2, 3, 4}
