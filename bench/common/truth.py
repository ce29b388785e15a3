"""Exact neighbours, and how many of them a search found."""

import numpy as np

BLOCK = 8_192
SPARE = 32  # candidates beyond k: products in float32 may order near ties differently than distances in float64
TIE = 1e-6


def distances(queries, base, ids, measure):
    """float64 distances, queries x ids, of the rows `ids` of `base`: 1 - cosine or squared Euclid."""
    found = np.empty(ids.shape, dtype=np.float64)
    for i, row in enumerate(ids):
        near = base[row].astype(np.float64)
        query = queries[i].astype(np.float64)
        found[i] = 1.0 - near @ query if measure == "cosine" else np.square(near - query).sum(axis=1)
    return found


def neighbors(base, queries, k, measure, progress=lambda done, total: None):
    """(ids, distances) of the exact k nearest rows per query, best first; ties by id."""
    rows = len(base)
    keep = min(rows, k + SPARE)
    ids = np.empty((len(queries), 0), dtype=np.int64)
    scores = np.empty((len(queries), 0), dtype=np.float32)
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    for start in range(0, rows, BLOCK):
        block = np.asarray(base[start : start + BLOCK], dtype=np.float32)
        score = queries @ block.T
        if measure == "euclid":  # the same order as of the distance: |q|^2 is left out
            score -= np.square(block).sum(axis=1) / 2
        scores = np.concatenate([scores, score], axis=1)
        ids = np.concatenate([ids, np.broadcast_to(np.arange(start, start + len(block)), score.shape)], axis=1)
        if scores.shape[1] > keep:
            best = np.argpartition(-scores, keep - 1, axis=1)[:, :keep]
            scores, ids = np.take_along_axis(scores, best, axis=1), np.take_along_axis(ids, best, axis=1)
        progress(start + len(block), rows)
    exact = distances(queries, base, ids, measure)
    order = np.lexsort((ids, exact), axis=1)[:, :k]
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(exact, order, axis=1)


def recall(found, found_distances, kth):
    """Share of the k nearest that were found, over all queries.

    found            ids, queries x k; a negative or repeated one counts nothing
    found_distances  their true distances
    kth              each query's true distance of rank k: a row at this distance is as good as any other at it
    """
    k = found.shape[1]
    good = (found >= 0) & (found_distances <= (kth + TIE * np.abs(kth))[:, None])
    hits = sum(min(k, len(set(ids[mask].tolist()))) for ids, mask in zip(found, good))
    return hits / found.size
