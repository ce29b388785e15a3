"""Random points, filters and queries.

Everything takes a `random.Random`. The tests hand in Hypothesis's, which makes a failing request smaller; vectors
come from a seed that it draws, so that they stay vectors without ties.
"""

import random
import uuid
from datetime import datetime, timedelta, timezone

from qdrant_client import models

COLORS = ["red", "green", "blue", "white", "black"]
SHAPES = ["round", "square", "flat"]
WORDS = ["Red", "green", "the", "sea,", "house", "of_it", "old"]
TERMS = 60

MAX_SIM = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
DENSE = {distance.value.lower(): models.VectorParams(size=8, distance=distance) for distance in models.Distance}
MULTI = {
    "pages": models.VectorParams(size=4, distance=models.Distance.COSINE, multivector_config=MAX_SIM),
    "steps": models.VectorParams(size=3, distance=models.Distance.EUCLID, multivector_config=MAX_SIM),
}
SPARSE = {"terms": models.SparseVectorParams()}
VECTORS = [*DENSE, *MULTI, *SPARSE]
SIMILARITIES = ["cosine", "dot", "pages", "terms"]

# The payload fields that have one kind of value, and the index for each.
INDEXES = {
    "color": "keyword",
    "shapes": "keyword",
    "count": "integer",
    "weight": "float",
    "live": "bool",
    "owner": "uuid",
    "where.room": "integer",
    "at": "datetime",
    "place": "geo",
    "title": "text",
    "parts[].size": "integer",
    "parts[].kind": "keyword",
}


def point_id(number):
    """Most ids are numbers; every fifth is a UUID."""
    return number if number % 5 else str(uuid.UUID(int=number * 0x9E37_79B9_7F4A_7C15))


def owner(rng):
    return str(uuid.UUID(int=rng.randint(1, 6) << 64))


def seeded(rng):
    return random.Random(rng.randrange(2**32))


def floats(rng, size):
    return [rng.gauss(0, 1) for _ in range(size)]


def sparse(rng, terms):
    """Some terms are in many vectors, most in few."""
    indices = sorted({int(TERMS * rng.random() ** 2) for _ in range(terms)})
    return models.SparseVector(indices=indices, values=[rng.uniform(0.1, 3) for _ in indices])


def vector(rng, name):
    rng = seeded(rng)
    if name in DENSE:
        return floats(rng, DENSE[name].size)
    if name in MULTI:
        return [floats(rng, MULTI[name].size) for _ in range(rng.randint(1, 4))]
    return sparse(rng, 6)


def vectors(rng, share=0.8):
    """Any of the vectors, perhaps none."""
    return {name: vector(rng, name) for name in VECTORS if rng.random() < share}


def payload(rng):
    """Fields that are often there, sometimes null, sometimes lists."""
    made = {}
    if rng.random() < 0.8:
        made["color"] = rng.choice(COLORS)
    if rng.random() < 0.8:
        made["shapes"] = rng.sample(SHAPES, rng.randint(0, len(SHAPES)))
    if rng.random() < 0.8:
        made["count"] = rng.randint(0, 20)
    if rng.random() < 0.8:
        made["weight"] = rng.uniform(0, 10)
    if rng.random() < 0.5:
        made["live"] = rng.random() < 0.5
    if rng.random() < 0.5:
        made["owner"] = owner(rng)
    if rng.random() < 0.5:
        made["where"] = {"room": rng.randint(1, 5), "floor": rng.choice(["up", "down"])}
    if rng.random() < 0.7:
        made["at"] = moment(rng)
    if rng.random() < 0.7:
        places = [{"lon": rng.uniform(-180, 180), "lat": rng.uniform(-90, 90)} for _ in range(rng.randint(1, 2))]
        made["place"] = places if len(places) > 1 else places[0]
    if rng.random() < 0.8:
        made["title"] = " ".join(rng.choices(WORDS, k=rng.randint(1, 6)))
    if rng.random() < 0.6:
        made["parts"] = [{"size": rng.randint(1, 3), "kind": rng.choice(SHAPES)} for _ in range(rng.randint(0, 3))]
    if rng.random() < 0.5:
        made["home"] = {"lon": rng.uniform(-180, 180), "lat": rng.uniform(-90, 90)}
    if rng.random() < 0.5:
        made["made"] = f"2024-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}T00:00:00Z"
    if rng.random() < 0.5:
        made["mixed"] = [rng.choice([1, 1.0, "1", True, None, [], [1, 2], {"a": 1}]) for _ in range(rng.randint(0, 3))]
    if rng.random() < 0.1:
        made[rng.choice(["color", "count", "where", "parts"])] = None
    return made


def moment(rng):
    """A date as people write it; one of them is none."""
    day = f"2024-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
    clock = f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}"
    return rng.choice([day, f"{day}T{clock}:00Z", f"{day} {clock}:30.25+02:00", f"{day} {clock}", "soon"])


def where(key, **test):
    return models.FieldCondition(key=key, **test)


def equals(key, value):
    return where(key, match=models.MatchValue(value=value))


def keyword_condition(rng):
    return rng.choice(
        [
            lambda: equals("color", rng.choice(COLORS)),
            lambda: where("shapes", match=models.MatchAny(any=rng.sample(SHAPES, 2))),
            lambda: where("color", match=models.MatchExcept(**{"except": rng.sample(COLORS, 2)})),
            lambda: where("color", match=models.MatchPrefix(prefix=rng.choice(["", "b", "bl", "re"]))),
            lambda: where("color", match=models.MatchSubstring(substring=rng.choice(["l", "ee", "x"]))),
            lambda: equals("live", rng.random() < 0.5),
            lambda: equals("owner", owner(rng)),
            lambda: where("owner", match=models.MatchAny(any=[owner(rng), owner(rng)])),
            lambda: equals("where.room", rng.randint(1, 5)),
            lambda: equals("where.floor", "up"),
            lambda: where("count", match=models.MatchAny(any=[rng.randint(0, 20) for _ in range(4)])),
            lambda: where("count", match=models.MatchExcept(**{"except": [rng.randint(0, 20) for _ in range(4)]})),
            lambda: equals("mixed", rng.choice([1, "1", True])),
            lambda: equals(rng.choice(["parts[].kind", "parts[0].kind"]), rng.choice(SHAPES)),
        ]
    )()


def range_condition(rng):
    kind = rng.randrange(4)
    if kind == 0:
        return where("count", range=models.Range(gte=rng.randint(0, 10), lt=rng.randint(8, 20)))
    if kind == 1:
        return where("weight", range=models.Range(gt=rng.uniform(0, 5), lte=rng.uniform(4, 10)))
    if kind == 2:
        return where("parts[].size", range=models.Range(gte=rng.randint(1, 3)))
    first = datetime(2024, rng.randint(1, 12), rng.randint(1, 28), tzinfo=timezone.utc)
    return where("at", range=models.DatetimeRange(gte=first, lt=first + timedelta(days=rng.randint(1, 200))))


def text_condition(rng):
    words = " ".join(rng.choices(WORDS, k=rng.randint(1, 2)))
    test = rng.choice(
        [
            models.MatchText(text=words),
            models.MatchTextAny(text_any=words),
            models.MatchPhrase(phrase=words),
            models.MatchPrefix(prefix=words[:2]),
            models.MatchSubstring(substring=words[1:4]),
        ]
    )
    return where("title", match=test)


def area_condition(rng):
    """A rectangle, a circle or a polygon, large enough to hold something."""
    kind = rng.randrange(3)

    def anywhere():
        return models.GeoPoint(lon=rng.uniform(-180, 180), lat=rng.uniform(-90, 90))

    if kind == 0:
        south, north = sorted(rng.uniform(-90, 90) for _ in range(2))
        corners = models.GeoBoundingBox(
            top_left=models.GeoPoint(lon=rng.uniform(-180, 180), lat=north),
            bottom_right=models.GeoPoint(lon=rng.uniform(-180, 180), lat=south),
        )
        return where("place", geo_bounding_box=corners)
    if kind == 1:
        return where("place", geo_radius=models.GeoRadius(center=anywhere(), radius=rng.uniform(1e6, 1e7)))

    def ring():
        points = [anywhere() for _ in range(3)]
        return models.GeoLineString(points=[*points, points[0]])

    interiors = [ring()] if rng.random() < 0.3 else None
    return where("place", geo_polygon=models.GeoPolygon(exterior=ring(), interiors=interiors))


def absence_condition(rng):
    key = rng.choice(["color", "shapes", "where", "where.room", "parts", "parts[].size", "mixed", "mixed[]", "nowhere"])
    return rng.choice(
        [
            lambda: models.IsEmptyCondition(is_empty=models.PayloadField(key=key)),
            lambda: models.IsNullCondition(is_null=models.PayloadField(key=key)),
            lambda: where(key, is_empty=rng.random() < 0.5),
            lambda: where(key, is_null=rng.random() < 0.5),
        ]
    )()


def count_condition(rng):
    key = rng.choice(["shapes", "parts", "mixed", "mixed[]", "color", "place", "nowhere"])
    bound = rng.choice(["lt", "lte", "gt", "gte"])
    return where(key, values_count=models.ValuesCount(**{bound: rng.randint(0, 3)}))


def nested_condition(rng):
    inner = [equals("size", rng.randint(1, 3)), equals("kind", rng.choice(SHAPES))]
    negative = [equals("size", rng.randint(1, 3))]
    made = rng.choice([models.Filter(must=inner), models.Filter(must=inner[1:], must_not=negative)])
    return models.NestedCondition(nested=models.Nested(key=rng.choice(["parts", "parts[]"]), filter=made))


def id_condition(rng, points):
    return models.HasIdCondition(has_id=[point_id(rng.randrange(points)) for _ in range(points // 4)])


def condition(rng, points, depth):
    kinds = [
        keyword_condition,
        range_condition,
        text_condition,
        area_condition,
        absence_condition,
        count_condition,
        nested_condition,
        lambda rng: id_condition(rng, points),
    ]
    if depth and rng.random() < 0.15:
        return any_filter(rng, points, depth - 1)
    # Those with several forms more often.
    return rng.choice([kinds[0], *kinds])(rng)


def any_filter(rng, points, depth=2):
    """A filter over a collection of so many points."""

    def conditions(probability):
        if rng.random() >= probability:
            return None
        return [condition(rng, points, depth) for _ in range(rng.randint(1, 2))]

    several = [condition(rng, points, depth) for _ in range(3)] if rng.random() < 0.2 else None
    return models.Filter(
        must=conditions(0.5),
        should=conditions(0.5),
        must_not=conditions(0.3),
        min_should=several and models.MinShould(conditions=several, min_count=rng.randint(1, 2)),
    )


def maybe_filter(rng, points):
    return any_filter(rng, points) if rng.random() < 0.6 else None
