"""The data sets, made once and kept in a folder each: base.f32.npy, query.f32.npy, truth.npz.

BRAINY_BENCH_DATA  a folder that may hold wordnet-minilm/{base,query}.f16.npy; otherwise `make bench-data` makes them
BRAINY_CACHE       where everything is kept, under bench/ (default ~/.cache/brainy)
"""

import gzip
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import truth

K = 10
TRUTH_VERSION = 1
LANE = 16  # floats of a cache line: rows of the files begin at one, so that they can be mapped
FASHION = "usr/share/datasets/fashion-mnist"
WORDNET = "usr/share/wordnet"


def cache():
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("BRAINY_CACHE") or Path(home) / "brainy") / "bench"


def from_debian(package, path):
    """The folder `path` of a Debian package: the installed one, else one unpacked into the cache. Needs no root."""
    installed = Path("/") / path
    if installed.exists():
        return installed
    root = cache() / package
    if not (root / path).exists():
        print(f"{package}: apt-get download", file=sys.stderr)
        root.mkdir(parents=True, exist_ok=True)
        # As another user apt cannot write here and says so; it downloads all the same.
        subprocess.run(["apt-get", "-o", "APT::Sandbox::User=", "download", package], cwd=root, check=True, stdout=2)
        (archive,) = root.glob(f"{package}_*.deb")
        subprocess.run(["dpkg", "-x", archive.name, "."], cwd=root, check=True)
        archive.unlink()
    return root / path


def wordnet_minilm():
    """100,000 texts of WordNet, embedded; 2,000 held out as queries. Real text embeddings."""
    given = os.environ.get("BRAINY_BENCH_DATA")
    folders = ([Path(given)] if given else []) + [cache()]
    for folder in (folder / "wordnet-minilm" for folder in folders):
        if (folder / "base.f16.npy").exists():
            return tuple(unit(np.load(folder / f"{part}.f16.npy")) for part in ("base", "query"))
    raise SystemExit(
        "wordnet-minilm is not here: `make bench-data` makes it, or name by BRAINY_BENCH_DATA a folder that holds it"
    )


def unit(rows):
    wide = rows.astype(np.float64)
    return (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32)


def fashion_mnist():
    """60,000 pictures of 28 x 28 pixels; 2,000 of the test pictures are the queries."""
    folder = from_debian("dataset-fashion-mnist", FASHION)
    base, query = (
        np.frombuffer(gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
        for part in ("train", "t10k")
    )
    return base.reshape(-1, 784).astype(np.float32), query.reshape(-1, 784)[:2_000].astype(np.float32)


def synthetic(rows, queries=2_000, dim=128, clusters=1_000, seed=20_260_101):
    """Gaussian clusters of unequal size. Within one the variance falls along a common basis, as it does in embeddings, so
    that neighbours differ in some thirty directions and not in all 128 alike."""
    random = np.random.default_rng(seed)
    basis = np.linalg.qr(random.standard_normal((dim, dim)))[0]
    falling = (1 + np.arange(dim)) ** -0.75
    centres = 0.35 * random.standard_normal((clusters, dim)) * falling**0.5
    share = random.dirichlet(np.full(clusters, 2.0))
    parts = []
    for count in (rows, queries):
        found = np.empty((count, dim), dtype=np.float32)
        for start in range(0, count, 100_000):
            end = min(count, start + 100_000)
            cluster = random.choice(clusters, size=end - start, p=share)
            found[start:end] = (centres[cluster] + random.standard_normal((end - start, dim)) * falling) @ basis
        parts.append(found)
    return tuple(parts)


@dataclass(frozen=True)
class Source:
    make: object
    measure: str
    what: str


SOURCES = {
    "wordnet-minilm": Source(wordnet_minilm, "cosine", "100,000 texts of WordNet embedded by all-MiniLM-L6-v2"),
    "fashion-mnist": Source(fashion_mnist, "euclid", "60,000 pictures of clothes, as pixels"),
    "synthetic-100k": Source(lambda: synthetic(100_000), "euclid", "100,000 rows of 1,000 Gaussian clusters"),
    "synthetic-1m": Source(lambda: synthetic(1_000_000), "euclid", "1,000,000 rows of 1,000 Gaussian clusters"),
}


@dataclass(frozen=True)
class DataSet:
    """A prepared data set. With `rows`, only the first so many rows of its base; its name then says so."""

    name: str
    measure: str
    what: str
    base: Path
    query: Path
    rows: int
    dim: int
    queries: int
    kth: np.ndarray

    def recall(self, ids):
        """Of ids, queries x K; -1 where a search found nothing."""
        base, query = (np.load(path, mmap_mode="r") for path in (self.base, self.query))
        seen = truth.distances(query, base, np.where((ids < 0) | (ids >= self.rows), 0, ids), self.measure)
        return truth.recall(np.where(ids >= self.rows, -1, ids), seen, self.kth)


def prepare(source, rows=None, progress=lambda done, total: None):
    """The data set, from the cache if it is there."""
    kind = SOURCES[source]
    folder = cache() / source
    if not (folder / "query.f32.npy").exists():
        folder.mkdir(parents=True, exist_ok=True)
        for name, part in zip(("base", "query"), kind.make()):
            assert part.shape[1] % LANE == 0
            save(folder / f"{name}.f32.npy", part)
    name = source
    base = np.load(folder / "base.f32.npy", mmap_mode="r")
    if rows and rows < len(base):
        name = f"{source}@{rows}"
        whole, folder = folder, cache() / name
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "query.f32.npy").exists():
            save(folder / "base.f32.npy", base[:rows])
            save(folder / "query.f32.npy", np.load(whole / "query.f32.npy"))
        base = np.load(folder / "base.f32.npy", mmap_mode="r")
    query = np.load(folder / "query.f32.npy")
    kept = folder / f"truth.{TRUTH_VERSION}.npy"
    if not kept.exists():
        save(kept, truth.neighbors(base, query, K, kind.measure, progress)[1][:, -1])
    base_path, query_path = folder / "base.f32.npy", folder / "query.f32.npy"
    kth = np.load(kept)
    return DataSet(name, kind.measure, kind.what, base_path, query_path, *base.shape, len(query), kth)


def save(path, rows):
    """Whole or not at all."""
    part = path.with_suffix(".part")
    with open(part, "wb") as file:
        np.save(file, rows)
    os.replace(part, path)
