import math

import pytest
from curve import at_recall, front, ratios, rounds_at, spread


def test_a_front_holds_what_nothing_beats():
    points = [(0.90, 100), (0.95, 80), (0.94, 70), (0.99, 20), (0.99, 30), (0.80, 100)]
    assert [points[i] for i in front(points)] == [(0.90, 100), (0.95, 80), (0.99, 30)]
    assert front([]) == []


def test_the_logarithm_is_interpolated_between_two_neighbours():
    line = [(0.90, 1000.0), (0.94, 400.0), (0.98, 100.0)]
    assert at_recall(line, 0.92) == pytest.approx(math.sqrt(1000 * 400))
    assert at_recall(line, 0.95) == pytest.approx(400 * (100 / 400) ** 0.25)


def test_a_point_is_its_own_value():
    assert at_recall([(0.90, 1000.0), (0.99, 100.0)], 0.99) == 100
    assert at_recall([(0.99, 100.0)], 0.99) == 100


def test_nothing_is_extrapolated():
    line = [(0.91, 1000.0), (0.98, 100.0)]
    assert at_recall(line, 0.90) is None
    assert at_recall(line, 0.99) is None
    assert at_recall([], 0.99) is None
    assert rounds_at([], 0.99) is None


def points(*qps):
    return [{"recall": recall, "qps": list(each)} for recall, each in zip((0.98, 0.995), qps, strict=True)]


def test_ratios_are_taken_round_by_round():
    # The second round was twice as slow for both: their ratio does not move.
    ours, theirs = points((600, 300, 660), (200, 100, 220)), points((300, 150, 300), (100, 50, 100))
    found = ratios(ours, theirs, 0.99)
    assert found == pytest.approx({"median": 2.0, "min": 2.0, "max": 2.2})
    assert ratios(ours, theirs, 0.999) is None


def test_a_front_is_that_of_the_medians():
    # One round in which the wider search was the faster one does not take the narrower one out.
    found = rounds_at(points((300, 90, 300), (100, 100, 100)), 0.98)
    assert found == [300, 90, 300]


def test_the_spread_of_nothing_is_nothing():
    assert spread([3, 1, 2]) == {"median": 2, "min": 1, "max": 3}
    assert spread([]) is None and spread(None) is None
