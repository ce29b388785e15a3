import pytest
from sweep import HIGH, LIMIT, LOW, following, wanted


def swept(k, recall):
    """ef to recall, of everything that would be tried."""
    known = {}
    while (ef := following(k, known)) is not None:
        assert ef not in known and k <= ef <= LIMIT
        known[ef] = recall(ef)
    return known


@pytest.mark.parametrize("scale", [2, 10, 40, 150])
def test_a_sweep_spans_the_recalls_of_interest_and_is_fine_around_the_targets(scale):
    known = swept(10, lambda ef: 1 - 0.5 * 2 ** (-ef / scale))
    efs = wanted(known)
    recalls = [known[ef] for ef in efs]
    assert recalls == sorted(recalls)
    assert recalls[0] <= LOW or efs[0] == 10
    assert recalls[-1] >= HIGH
    assert all(recall >= LOW for recall in recalls[1:])
    for low, high, small, large in zip(recalls, recalls[1:], efs, efs[1:]):
        if low < 0.99 <= high:
            assert high - low <= 0.005 or large - small == 1
    assert len(known) < 40


def test_a_sweep_ends_where_recall_stays_low():
    known = swept(10, lambda ef: min(0.93, 0.8 + ef / 1000))
    assert max(known) < 1000
    assert known[max(wanted(known))] == 0.93
    assert [ef for ef in wanted(known) if known[ef] == 0.93] == [min(ef for ef in known if known[ef] == 0.93)]
    assert wanted(swept(10, lambda ef: 0.6)) == [10]


def test_a_sweep_goes_on_while_recall_rises_slowly():
    known = swept(10, lambda ef: 0.9 + 0.05 * (1 - 2 ** (-ef / 1500)))
    assert max(known) == LIMIT


def test_recall_that_falls_a_little_does_not_stop_it():
    known = swept(10, lambda ef: min(1.0, 0.88 + ef / 2000 - (0.01 if ef % 2 else 0)))
    assert known[max(known)] >= HIGH


def test_a_sweep_that_is_exact_at_once_is_one_point():
    known = swept(10, lambda ef: 1.0)
    assert known == {10: 1.0} and wanted(known) == [10]
