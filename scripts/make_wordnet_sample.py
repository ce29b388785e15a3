#!/usr/bin/env python3
"""Make examples/wordnet from a full set of embedded WordNet texts.

    python3 scripts/make_wordnet_sample.py FULL_DATA_FOLDER [OUTPUT_FOLDER]

FULL_DATA_FOLDER holds base.f16.npy and query.f16.npy (rows x 384, float16), base.txt.gz and
query.txt.gz (one text a line, same order). The same input gives the same output, byte for byte.

What is kept: 100 queries that read as a sentence or a description and differ from one another; of the
base the ten nearest rows of each of these queries, so that every question keeps its good answers;
and a uniform sample up to 4,000 rows. Neighbours are computed anew among the kept rows, on the
stored float16 values, widened and normalised: that is what a program that reads the files searches.
"""

import gzip
import json
import re
import sys
from pathlib import Path

import numpy as np

ROWS = 4_000
QUERIES = 100
NEIGHBORS = 10
SEED = 20_260_101
MIN_BEST_SCORE = 0.6  # a query without any answer this near is no good example
MAX_QUERY_SIMILARITY = 0.30  # between any two queries

# Queries with answers that a reader can judge, in the order in which a demo asks them.
SHOWCASE = [
    "men first stepped on the moon in 1969",
    "the absurd excuse that the dog ate his homework",
    "the government was overthrown nonviolently, but the dictator was killed",
    "he reserved a large block of seats",
    "a colossal tsunami destroyed the Minoan civilization in minutes",
    "streets unpassable because of piles of unmelted snow",
    "when automobiles first replaced horse-drawn carriages they were called horseless carriages",
    "the doctor prescribed a topical application of iodine",
]

# WordNet describes the whole language. A sample that is printed by a demo leaves insults and intimacy out.
UNSUITABLE = re.compile(
    r"offensive|disparag|slur\b|obscen|vulgar|derogat|no longer used technically|negro|slave|nazi|"
    r"sexual|intercourse|genital|\banal\b|\banus\b|penis|vagina|clitor|breast|nude|naked|"
    r"rape[ds]?\b|whore|prostitut|suicid|fuck|shit",
    re.IGNORECASE,
)
# Names of plants and animals are too narrow to be judged by a reader.
TAXONOMY = re.compile(r"\b(genus|family|order|class|species|vein|artery|nerve|muscle)\b", re.IGNORECASE)


def normalized(rows):
    """Rows widened to float64 and scaled to unit length."""
    wide = rows.astype(np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


def nearest(queries, base, k):
    """Indexes of the k most similar rows of `base` per query, best first; the lower index wins a tie."""
    scores = queries @ base.T
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def readable(text):
    """A sentence of 7 to 16 words, or one term with a description of 6 to 16 words."""
    if UNSUITABLE.search(text) or TAXONOMY.search(text):
        return False
    term, colon, description = text.partition(": ")
    if not colon:
        return 7 <= len(text.split()) <= 16
    return "," not in term and 6 <= len(description.split()) <= 16


def choose_queries(texts, vectors, best_scores):
    """The showcase, then queries in random order that are readable, answered and unlike those before."""
    chosen = [texts.index(text) for text in SHOWCASE]
    for i in np.random.default_rng(SEED).permutation(len(texts)):
        if len(chosen) == QUERIES:
            return np.array(chosen)
        if readable(texts[i]) and best_scores[i] >= MIN_BEST_SCORE:
            if (vectors[chosen] @ vectors[i]).max() < MAX_QUERY_SIMILARITY:
                chosen.append(int(i))
    raise SystemExit(f"only {len(chosen)} of {QUERIES} queries qualify: relax MAX_QUERY_SIMILARITY")


def choose_rows(texts, neighbors):
    """The neighbours of all queries and a uniform sample of the rest, in the base's order."""
    suitable = [i for i, text in enumerate(texts) if not UNSUITABLE.search(text)]
    answers = np.intersect1d(neighbors, suitable)
    rest = np.setdiff1d(suitable, answers)
    fill = np.random.default_rng(SEED + 1).choice(rest, ROWS - len(answers), replace=False)
    return np.sort(np.concatenate([answers, fill])), len(answers)


def read_lines(path):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return file.read().splitlines()


def main():
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    source = Path(sys.argv[1])
    default = Path(__file__).resolve().parent.parent / "examples" / "wordnet"
    target = Path(sys.argv[2]) if len(sys.argv) == 3 else default
    target.mkdir(parents=True, exist_ok=True)

    base, queries = np.load(source / "base.f16.npy"), np.load(source / "query.f16.npy")
    base_texts, query_texts = read_lines(source / "base.txt.gz"), read_lines(source / "query.txt.gz")
    if len(base) != len(base_texts) or len(queries) != len(query_texts):
        raise SystemExit(f"{source}: vectors and texts differ in number")

    base_vectors, query_vectors = normalized(base), normalized(queries)
    all_scores = query_vectors @ base_vectors.T
    picked = choose_queries(query_texts, query_vectors, all_scores.max(axis=1))
    rows, answers = choose_rows(base_texts, nearest(query_vectors[picked], base_vectors, NEIGHBORS))
    neighbors = nearest(query_vectors[picked], base_vectors[rows], NEIGHBORS)

    base[rows].astype("<f2").tofile(target / "base.f16")
    queries[picked].astype("<f2").tofile(target / "queries.f16")
    neighbors.astype("<u4").tofile(target / "neighbors.u32")
    for name, texts, indexes in [("base.txt", base_texts, rows), ("queries.txt", query_texts, picked)]:
        (target / name).write_text("".join(texts[i] + "\n" for i in indexes), encoding="utf-8")

    dimensions = base.shape[1]
    described = {
        "name": "wordnet-minilm-4k",
        "description": "WordNet 3.0 glosses and usage examples as sentence embeddings",
        "dimensions": dimensions,
        "distance": "Cosine",
        "files": {
            "base.f16": {"type": "float16", "byte_order": "little", "shape": [ROWS, dimensions]},
            "queries.f16": {"type": "float16", "byte_order": "little", "shape": [QUERIES, dimensions]},
            "neighbors.u32": {"type": "uint32", "byte_order": "little", "shape": [QUERIES, NEIGHBORS]},
            "base.txt": {"type": "utf-8", "lines": ROWS},
            "queries.txt": {"type": "utf-8", "lines": QUERIES},
        },
        "neighbors": "exact cosine neighbours among base, best first, on the stored values after normalisation",
        "showcase": list(range(len(SHOWCASE))),
        "source": {"base_rows": len(base), "query_rows": len(queries), "held_out_queries": True},
        "sampling": {
            "script": "scripts/make_wordnet_sample.py",
            "seed": SEED,
            "rows_near_a_query": answers,
            "rows_uniform": ROWS - answers,
        },
        "model": {"name": "sentence-transformers/all-MiniLM-L6-v2", "license": "Apache-2.0"},
        "texts": {"name": "WordNet 3.0", "license": "WordNet-3.0", "notice": "NOTICE"},
    }
    (target / "dataset.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    print(f"{ROWS} rows ({answers} near a query), {QUERIES} queries -> {target}")


if __name__ == "__main__":
    main()
