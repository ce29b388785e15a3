//! How many slots each member is to hold, in exact integers.

use std::collections::BTreeMap;

use super::Candidate;

/// Slots for each candidate out of `total`, none above `cap`, such that as few as possible of the `held` ones must move.
///
/// An unready candidate's quota is what it holds. The quotas sum to `total`, or to what the active candidates can take.
pub(super) fn quotas(
    candidates: &[Candidate<'_>],
    held: &[usize],
    total: usize,
    cap: usize,
) -> Vec<usize> {
    let fixed: usize = candidates
        .iter()
        .zip(held)
        .filter(|(c, _)| !c.active)
        .map(|(_, held)| held)
        .sum();
    let active = candidates.iter().filter(|c| c.active).count();
    let left = total.saturating_sub(fixed).min(cap * active);
    // Shares of all who keep partitions first: with those a member that turns unready causes no move. They do not fit when
    // an unready one holds more or less than its share; then the active ones share what is left.
    grant(
        candidates,
        held,
        left,
        &bands(candidates, |_| true, total, cap),
    )
    .or_else(|| {
        grant(
            candidates,
            held,
            left,
            &bands(candidates, |c| c.active, left, cap),
        )
    })
    .unwrap_or_else(|| held.to_vec())
}

/// Floor of a candidate's share, and the remainder that decides who gets a spare slot (0: the share is whole).
#[derive(Clone, Copy, Default)]
struct Band {
    floor: usize,
    remainder: u128,
}

/// Shares of `total` in proportion to weight among the candidates in `pool`; what exceeds `cap` goes to the others.
fn bands(
    candidates: &[Candidate<'_>],
    pool: impl Fn(&Candidate<'_>) -> bool,
    total: usize,
    cap: usize,
) -> Vec<Band> {
    let mut bands = vec![Band::default(); candidates.len()];
    let mut open: Vec<usize> = (0..candidates.len())
        .filter(|&i| pool(&candidates[i]))
        .collect();
    let mut left = total;
    loop {
        let weights: u128 = open.iter().map(|&i| u128::from(candidates[i].weight)).sum();
        let scaled = |i: usize| left as u128 * u128::from(candidates[i].weight);
        let (full, rest): (Vec<usize>, Vec<usize>) = open
            .iter()
            .partition(|&&i| scaled(i) > cap as u128 * weights);
        if full.is_empty() {
            for i in rest {
                bands[i] = Band {
                    // At most `cap`, so it fits.
                    floor: (scaled(i) / weights) as usize,
                    remainder: scaled(i) % weights,
                };
            }
            return bands;
        }
        for &i in &full {
            bands[i].floor = cap;
        }
        left = left.saturating_sub(cap * full.len());
        open = rest;
    }
}

/// Floors for the active candidates and one spare slot for some of them, `left` in all; `None` if the bands do not allow it.
fn grant(
    candidates: &[Candidate<'_>],
    held: &[usize],
    left: usize,
    bands: &[Band],
) -> Option<Vec<usize>> {
    let mut quotas: Vec<usize> = candidates
        .iter()
        .zip(held)
        .zip(bands)
        .map(|((c, &held), band)| if c.active { band.floor } else { held })
        .collect();
    let active = (0..candidates.len()).filter(|&i| candidates[i].active);
    let floors: usize = active.clone().map(|i| bands[i].floor).sum();
    let spare = left.checked_sub(floors)?;
    let mut takers: Vec<usize> = active.filter(|&i| bands[i].remainder > 0).collect();
    // The sort is stable, so that ties stay in order of names.
    takers.sort_by_key(|&i| {
        let saves_a_move = held[i] > bands[i].floor;
        (!saves_a_move, std::cmp::Reverse(bands[i].remainder))
    });
    // Zones take turns, so that rounding does not crowd the readers of a partition into one zone.
    let mut turns: BTreeMap<&str, usize> = BTreeMap::new();
    takers.sort_by_cached_key(|&i| {
        candidates[i].zone.map_or(0, |zone| {
            let turn = turns.entry(zone).or_default();
            *turn += 1;
            *turn
        })
    });
    for &i in takers.get(..spare)? {
        quotas[i] += 1;
    }
    Some(quotas)
}
