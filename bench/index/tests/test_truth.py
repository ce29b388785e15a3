import numpy as np
import pytest
import truth


def found(ids, distances, kth):
    return truth.recall(np.array(ids), np.array(distances, dtype=float), np.array(kth, dtype=float))


def test_recall_counts_what_is_as_near_as_rank_k():
    assert found([[1, 2], [3, 9]], [[0.1, 0.2], [0.1, 0.9]], [0.2, 0.2]) == 0.75


def test_another_row_at_the_same_distance_is_as_good():
    assert found([[7, 8]], [[0.2, 0.2 * (1 + 5e-7)]], [0.2]) == 1
    assert found([[7, 8]], [[0.2, 0.2 * (1 + 5e-6)]], [0.2]) == 0.5


def test_repeated_and_missing_rows_count_nothing():
    assert found([[7, 7]], [[0.1, 0.1]], [0.2]) == 0.5
    assert found([[7, -1]], [[0.1, 0.1]], [0.2]) == 0.5


def test_a_negative_distance_of_rank_k_has_a_tolerance_too():
    assert found([[1, 2]], [[-1e-9, -1e-9 * (1 - 1e-7)]], [-1e-9]) == 1


@pytest.mark.parametrize("measure", ["cosine", "euclid"])
@pytest.mark.parametrize("block", [7, 64, 8192])
def test_neighbours_are_those_of_a_full_sort(measure, block, monkeypatch):
    monkeypatch.setattr(truth, "BLOCK", block)
    random = np.random.default_rng(5)
    base, query = (random.standard_normal((rows, 16)).astype(np.float32) for rows in (300, 9))
    base[200:250] = base[:50]  # ties
    if measure == "cosine":
        base, query = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (base, query))
    ids, distances = truth.neighbors(base, query, 10, measure)
    wide, asked = base.astype(np.float64), query.astype(np.float64)
    full = 1 - asked @ wide.T if measure == "cosine" else np.square(asked[:, None, :] - wide[None, :, :]).sum(axis=2)
    np.testing.assert_allclose(distances, np.sort(full, axis=1)[:, :10], rtol=1e-9)
    np.testing.assert_allclose(np.take_along_axis(full, ids, axis=1), distances, rtol=1e-9)
    assert all(len(set(row)) == 10 for row in ids.tolist())
    assert truth.recall(ids, truth.distances(query, base, ids, measure), distances[:, -1]) == 1


def test_fewer_rows_than_wanted_are_all_found():
    base = np.eye(4, 16, dtype=np.float32)
    ids, _ = truth.neighbors(base, base[:2], 10, "euclid")
    assert ids.shape == (2, 4) and ids[1, 0] == 1
