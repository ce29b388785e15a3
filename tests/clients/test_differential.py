"""The same random data and requests to Brainy and to the client's in-process imitation of Qdrant."""

import random

import pytest
from qdrant_client import QdrantClient, models

POINTS = 300
QUERIES = 40
DIMENSIONS = 8
TOLERANCE = 1e-4
COLORS = ["red", "green", "blue", "white", "black"]
SHAPES = ["round", "square", "flat"]


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
    if rng.random() < 0.1:
        payload[rng.choice(["color", "count", "where"])] = None
    return payload


def random_condition(rng, depth):
    kind = rng.randrange(9 if depth else 8)
    if kind == 8:
        return random_filter(rng, depth - 1)
    if kind == 7:
        return models.HasIdCondition(has_id=rng.sample(range(POINTS), 60))
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


def random_filter(rng, depth=2):
    def conditions(probability):
        return [random_condition(rng, depth) for _ in range(rng.randint(1, 2))] if rng.random() < probability else None

    return models.Filter(must=conditions(0.5), should=conditions(0.5), must_not=conditions(0.3))


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


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("distance", list(models.Distance))
def test_random_requests_have_the_same_answers(client, name, distance, seed):
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
