"""The engines that are compared, and what is known of their memory. Pure."""

from dataclasses import dataclass

M, EF_CONSTRUCTION = 16, 200
REFERENCE = "hnswlib"


@dataclass(frozen=True)
class Engine:
    name: str
    kind: str  # reference, peer, baseline, f32 (native, floats in memory), codes (native, floats on disk)
    colour: str
    what: str

    @property
    def rust(self):
        return self.kind in ("f32", "codes", "baseline")


ENGINES = {
    engine.name: engine
    for engine in (
        Engine("native-f32", "f32", "#c0392b", "Brainy, floats in memory"),
        Engine("native-int8", "codes", "#e67e22", "Brainy, 8-bit codes in memory, floats mapped from disk"),
        Engine("native-int4", "codes", "#d4ac0d", "Brainy, 4-bit codes in memory, floats mapped from disk"),
        Engine("native-binary", "codes", "#8e5a2b", "Brainy, 1-bit codes in memory, floats mapped from disk"),
        Engine("hnswlib", "reference", "#1f4e9e", "hnswlib, built with -march=native"),
        Engine("faiss", "peer", "#2e86c1", "faiss IndexHNSWFlat"),
        Engine("usearch", "peer", "#148f77", "usearch, float32"),
        Engine("hnsw_rs", "baseline", "#7d3c98", "the crate hnsw_rs, with its SIMD feature"),
    )
}

# Slow builders, left out of the largest data set unless asked for by name.
LEFT_OUT = {"synthetic-1m": ("hnsw_rs", "usearch")}


def chosen(dataset, names):
    """Names of the engines to run, the reference always among them: ratios are taken within one interleaved run."""
    if names:
        return [name for name in ENGINES if name in names or name == REFERENCE]
    return [name for name in ENGINES if name not in LEFT_OUT.get(dataset.partition("@")[0], ())]


def computed_bytes(name, rows, dim, m=M):
    """Bytes per vector that the layout of a peer asks for: floats and links, and what it keeps per row besides. None where
    the layout has no fixed size. A row is on 1/(m-1) layers above the lowest on average."""
    above = 1 / (m - 1)
    if name == "hnswlib":
        # Links of the lowest layer with their count, floats, label; level, pointer, mutex and visited tag per row; its entry in
        # the hash table of labels; the layers above; and 65,536 mutexes for labels.
        return 4 * dim + (4 + 8 * m) + 8 + (4 + 8 + 40 + 2) + 40 + above * (4 + 4 * m) + 65_536 * 40 / rows
    if name == "faiss":
        # Floats, links of all layers; then level and offset per row.
        return 4 * dim + 8 * m + 4 + 8 + above * 4 * m
    return None
