"""The same random data and requests to Brainy and to the client's in-process imitation of Qdrant."""

import random
from datetime import datetime, timedelta, timezone

import pytest
from qdrant_client import QdrantClient, models

POINTS = 300
QUERIES = 40
DIMENSIONS = 8
TOLERANCE = 1e-4
COLORS = ["red", "green", "blue", "white", "black"]
SHAPES = ["round", "square", "flat"]
WORDS = ["Red", "green", "the", "sea,", "house", "of_it", "old"]


def random_vector(rng):
    return [rng.gauss(0, 1) for _ in range(DIMENSIONS)]


def random_payload(rng):
    """Fields that are often there, sometimes null, sometimes lists."""
    payload = {}
    if rng.random() < 0.8:
        payload["color"] = rng.choice(COLORS)
    if rng.random() < 0.8:
        payload["shapes"] = rng.sample(SHAPES, rng.randint(0, len(SHAPES)))
    if rng.random() < 0.8:
        payload["count"] = rng.randint(0, 20)
    if rng.random() < 0.8:
        payload["weight"] = round(rng.uniform(0, 10), 3)
    if rng.random() < 0.5:
        payload["live"] = rng.random() < 0.5
    if rng.random() < 0.5:
        payload["where"] = {"room": rng.randint(1, 5), "floor": rng.choice(["up", "down"])}
    if rng.random() < 0.7:
        day = f"2024-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
        clock = f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}"
        payload["at"] = rng.choice([day, f"{day}T{clock}:00Z", f"{day} {clock}:30.25+02:00", f"{day} {clock}", "soon"])
    if rng.random() < 0.7:
        places = [
            {"lon": round(rng.uniform(-180, 180), 4), "lat": round(rng.uniform(-90, 90), 4)}
            for _ in range(rng.randint(1, 2))
        ]
        payload["place"] = places if len(places) > 1 else places[0]
    if rng.random() < 0.8:
        payload["title"] = " ".join(rng.choices(WORDS, k=rng.randint(1, 6)))
    if rng.random() < 0.6:
        payload["parts"] = [
            {"size": rng.randint(1, 3), "kind": rng.choice(SHAPES)} for _ in range(rng.randint(0, 3))
        ]
    if rng.random() < 0.1:
        payload[rng.choice(["color", "count", "where"])] = None
    return payload


def random_condition(rng, depth):
    kind = rng.randrange(12 if depth else 11)
    if kind == 11:
        return random_filter(rng, depth - 1)
    if kind == 10:
        return models.HasIdCondition(has_id=rng.sample(range(POINTS), 60))
    if kind == 9:
        inner = [
            models.FieldCondition(key="size", match=models.MatchValue(value=rng.randint(1, 3))),
            models.FieldCondition(key="kind", match=models.MatchValue(value=rng.choice(SHAPES))),
        ]
        return models.NestedCondition(nested=models.Nested(key="parts", filter=models.Filter(must=inner)))
    if kind == 8:
        return models.FieldCondition(key="place", **random_area(rng))
    if kind == 7:
        if rng.random() < 0.5:
            first = datetime(2024, rng.randint(1, 12), rng.randint(1, 28), tzinfo=timezone.utc)
            bounds = models.DatetimeRange(gte=first, lt=first + timedelta(days=rng.randint(1, 200)))
            return models.FieldCondition(key="at", range=bounds)
        words = " ".join(rng.choices(WORDS, k=2))
        test = rng.choice(
            [
                models.MatchText(text=words),
                models.MatchTextAny(text_any=words),
                models.MatchPhrase(phrase=words),
                models.MatchPrefix(prefix=words[:2]),
                models.MatchSubstring(substring=words[1:4]),
            ]
        )
        return models.FieldCondition(key="title", match=test)
    key, match, bounds = [
        ("color", models.MatchValue(value=rng.choice(COLORS)), None),
        ("shapes", models.MatchAny(any=rng.sample(SHAPES, 2)), None),
        ("color", models.MatchExcept(**{"except": rng.sample(COLORS, 2)}), None),
        ("live", models.MatchValue(value=rng.random() < 0.5), None),
        ("where.room", models.MatchValue(value=rng.randint(1, 5)), None),
        ("count", None, models.Range(gte=rng.randint(0, 10), lt=rng.randint(8, 20))),
        ("weight", None, models.Range(gt=rng.uniform(0, 5), lte=rng.uniform(4, 10))),
    ][kind]
    return models.FieldCondition(key=key, match=match, range=bounds)


def random_area(rng):
    """A rectangle, a circle or a triangle, large enough to hold something."""
    kind = rng.randrange(3)
    if kind == 0:
        south, north = sorted(rng.uniform(-90, 90) for _ in range(2))
        corners = models.GeoBoundingBox(
            top_left=models.GeoPoint(lon=rng.uniform(-180, 180), lat=north),
            bottom_right=models.GeoPoint(lon=rng.uniform(-180, 180), lat=south),
        )
        return {"geo_bounding_box": corners}
    if kind == 1:
        center = models.GeoPoint(lon=rng.uniform(-180, 180), lat=rng.uniform(-90, 90))
        return {"geo_radius": models.GeoRadius(center=center, radius=rng.uniform(1e6, 1e7))}
    ring = [models.GeoPoint(lon=rng.uniform(-180, 180), lat=rng.uniform(-90, 90)) for _ in range(3)]
    return {"geo_polygon": models.GeoPolygon(exterior=models.GeoLineString(points=[*ring, ring[0]]))}


def random_filter(rng, depth=2):
    def conditions(probability):
        return [random_condition(rng, depth) for _ in range(rng.randint(1, 2))] if rng.random() < probability else None

    several = [random_condition(rng, depth) for _ in range(3)] if rng.random() < 0.2 else None
    return models.Filter(
        must=conditions(0.5),
        should=conditions(0.5),
        must_not=conditions(0.3),
        min_should=several and models.MinShould(conditions=several, min_count=rng.randint(1, 2)),
    )


def compare(answer, reference_all, limit, about):
    """`answer` is a right top-`limit` of `reference_all`; points with equal scores may come in any order."""
    score_of = {point.id: point.score for point in reference_all}
    payload_of = {point.id: point.payload for point in reference_all}
    assert len(answer) == min(limit, len(reference_all)), about
    assert len({point.id for point in answer}) == len(answer), about
    for point, expected in zip(answer, reference_all):
        assert point.id in score_of, about
        assert point.score == pytest.approx(score_of[point.id], abs=TOLERANCE), about
        assert point.score == pytest.approx(expected.score, abs=TOLERANCE), about
        assert (point.payload or {}) == (payload_of[point.id] or {}), about


INDEXES = {
    "color": "keyword",
    "shapes": "keyword",
    "count": "integer",
    "weight": "float",
    "live": "bool",
    "where.room": "integer",
    "at": "datetime",
    "place": "geo",
    "title": "text",
    "parts[].size": "integer",
    "parts[].kind": "keyword",
}


@pytest.mark.parametrize("indexes", [{}, INDEXES], ids=["plain", "indexed"])
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("distance", list(models.Distance))
def test_random_requests_have_the_same_answers(client, name, distance, seed, indexes):
    print(f"seed {seed}")
    rng = random.Random(f"{distance.value}/{seed}")
    reference = QdrantClient(":memory:")
    both = [client, reference]
    config = models.VectorParams(size=DIMENSIONS, distance=distance)
    points = [models.PointStruct(id=i, vector=random_vector(rng), payload=random_payload(rng)) for i in range(POINTS)]
    removed = rng.sample(range(POINTS), 20)
    marked = random_filter(rng)
    for each in both:
        each.create_collection(name, vectors_config=config)
        each.upload_points(name, points=points, batch_size=64, wait=True)
        each.delete(name, points_selector=removed)
        each.set_payload(name, payload={"marked": True}, points=marked)

    for field, kind in indexes.items():
        client.create_payload_index(name, field_name=field, field_schema=kind)
    described = client.get_collection(name).payload_schema
    assert {field: schema.data_type.value for field, schema in described.items()} == indexes

    nonempty = 0
    for number in range(QUERIES):
        condition = random_filter(rng) if rng.random() < 0.8 else None
        vector, limit = random_vector(rng), rng.choice([1, 5, 20])
        about = f"seed {seed}, query {number}, filter {condition and condition.model_dump_json(exclude_none=True)}"

        answer = client.query_points(
            name, query=vector, query_filter=condition, limit=limit, search_params=models.SearchParams(exact=True)
        )
        everything = reference.query_points(name, query=vector, query_filter=condition, limit=POINTS)
        compare(answer.points, everything.points, limit, about)
        nonempty += bool(answer.points)

        counts = [each.count(name, count_filter=condition, exact=True).count for each in both]
        assert counts[0] == counts[1], about
        scrolls = [each.scroll(name, scroll_filter=condition, limit=POINTS)[0] for each in both]
        assert [point.id for point in scrolls[0]] == [point.id for point in scrolls[1]], about
    # A comparison of empty answers would say little.
    assert nonempty > QUERIES / 2
    reference.close()
