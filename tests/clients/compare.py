"""Whether two answers to one request are the same."""

import grpc
import pytest
from qdrant_client import models
from qdrant_client.http.exceptions import UnexpectedResponse

TOLERANCE = 1e-4
EXACT = models.SearchParams(exact=True)


def outcome(call, *arguments, **options):
    """What became of a call, in words that are the same for all clients, and its answer."""
    try:
        return "done", call(*arguments, **options)
    except UnexpectedResponse as e:
        assert e.status_code in (400, 404, 422), e
        return "missing" if e.status_code == 404 else "refused", None
    except grpc.RpcError as e:
        assert e.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT), e
        return "missing" if e.code() == grpc.StatusCode.NOT_FOUND else "refused", None
    except KeyError:
        return "missing", None
    except ValueError:
        return "refused", None


def near(score):
    return pytest.approx(score, abs=TOLERANCE, rel=TOLERANCE)


def same_vector(left, right):
    if isinstance(left, models.SparseVector) or isinstance(right, models.SparseVector):
        pairs = [dict(zip(v.indices, v.values)) for v in (left, right)]
        return pairs[0].keys() == pairs[1].keys() and all(pairs[0][i] == near(pairs[1][i]) for i in pairs[0])
    if left and isinstance(left[0], list):
        return len(left) == len(right) and all(same_vector(a, b) for a, b in zip(left, right))
    return left == near(right)


def same_vectors(left, right):
    left, right = left or {}, right or {}
    return left.keys() == right.keys() and all(same_vector(left[key], right[key]) for key in left)


def assert_best(found, everything, limit, about, offset=0):
    """`found` is a right page of `everything`, which is sorted; points with equal scores may come in any order."""
    score_of = {point.id: point.score for point in everything}
    payload_of = {point.id: point.payload for point in everything}
    expected = everything[offset : offset + limit]
    assert [point.score for point in found] == near([point.score for point in expected]), about
    assert len({point.id for point in found}) == len(found), about
    for point in found:
        assert point.id in score_of, f"{point.id} should not have been found by {about}"
        assert point.score == near(score_of[point.id]), about
        assert (point.payload or {}) == (payload_of[point.id] or {}), about


def assert_same_records(found, expected, about):
    """The same points in the same order, with the same payloads and vectors."""
    assert [point.id for point in found] == [point.id for point in expected], about
    for left, right in zip(found, expected):
        assert left.payload == right.payload, f"{left.id} has {left.payload}, not {right.payload}: {about}"
        assert same_vectors(left.vector, right.vector), f"{left.id} has {left.vector}, not {right.vector}: {about}"


def described(request):
    """A request as one line of JSON, for the report of a failing test."""

    def plain(value):
        if hasattr(value, "model_dump_json"):
            return value.model_dump_json(exclude_none=True)
        if isinstance(value, list):
            return "[" + ", ".join(plain(each) for each in value) + "]"
        return repr(value)

    return ", ".join(f"{key}={plain(value)}" for key, value in request.items() if value is not None)
