//! Places in the order of a space-filling curve.
//!
//! Longitude and latitude become 32 bits each, interleaved (Morton, 1966): a rectangle is then a few runs of codes, found by
//! binary search. Codes only choose candidates; coordinates are stored beside them and decide.

use std::collections::VecDeque;
use std::ops::Range;

use crate::engine::filter::geo::{self, Rectangle};
use crate::model::{GeoArea, GeoPoint};

use super::image::{Image, ImageWriter, Section};
use super::sorted::{self, Sorted};

/// Sections of places.
pub(super) const SECTIONS: usize = sorted::SECTIONS + 2;
/// Runs that a rectangle is covered with, about: more are closer to it, fewer are found faster.
const RUNS: usize = 64;
/// Candidates looked at to guess which part of them lies in an area.
const SAMPLE: usize = 64;

/// Adds the sections for places with their rows, in any order.
pub(super) fn write(writer: &mut ImageWriter, mut places: Vec<(GeoPoint, u32)>) {
    places.sort_by_key(|(point, row)| (code(*point), *row));
    let codes = places.iter().map(|(p, row)| (code(*p), *row)).collect();
    sorted::write::<u64>(writer, codes);
    writer.add(&places.iter().map(|(p, _)| p.lon).collect::<Vec<_>>());
    writer.add(&places.iter().map(|(p, _)| p.lat).collect::<Vec<_>>());
}

/// See the module.
#[derive(Debug)]
pub(super) struct Places {
    codes: Sorted<u64>,
    lon: Section<f64>,
    lat: Section<f64>,
}

impl Places {
    /// Checks the sections from `first` on.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub(super) fn open(image: &Image, first: usize, rows: usize) -> Result<Self, String> {
        let own = Self {
            codes: Sorted::open(image, first, rows)?,
            lon: image.section(first + sorted::SECTIONS)?,
            lat: image.section(first + sorted::SECTIONS + 1)?,
        };
        let count = own.codes.len(image);
        if image.get(&own.lon).len() != count || image.get(&own.lat).len() != count {
            return Err("its coordinates do not fit its places".into());
        }
        Ok(own)
    }

    /// Runs of entries among which all places in the area are.
    pub(super) fn candidates(&self, image: &Image, area: &GeoArea) -> Vec<Range<usize>> {
        let mut codes: Vec<(u64, u64)> = geo::cover(area).iter().flat_map(runs).collect();
        codes.sort_unstable();
        let mut found: Vec<Range<usize>> = Vec::new();
        for (from, to) in codes {
            let run = self.codes.between(image, |c| *c < from, |c| *c > to);
            match found.last_mut() {
                Some(last) if run.start <= last.end => last.end = last.end.max(run.end),
                _ => found.push(run),
            }
        }
        found
    }

    /// Rows of the candidates that lie in the area; a row comes as often as it has such places.
    pub(super) fn rows<'i>(
        &self,
        image: &'i Image,
        area: &'i GeoArea,
        candidates: &'i [Range<usize>],
    ) -> impl Iterator<Item = u32> {
        let (lon, lat) = (image.get(&self.lon), image.get(&self.lat));
        let rows = self.codes.rows(image, &(0..lon.len()));
        candidates
            .iter()
            .flat_map(Clone::clone)
            .filter(|i| holds(area, lon, lat, *i))
            .filter_map(|i| rows.get(i).copied())
    }

    /// The part of the candidates that lies in the area, from a sample.
    pub(super) fn share(&self, image: &Image, area: &GeoArea, candidates: &[Range<usize>]) -> f64 {
        let total: usize = candidates.iter().map(ExactSizeIterator::len).sum();
        let (lon, lat) = (image.get(&self.lon), image.get(&self.lat));
        let sample: Vec<usize> = candidates
            .iter()
            .flat_map(Clone::clone)
            .step_by((total / SAMPLE).max(1))
            .collect();
        let inside = sample.iter().filter(|i| holds(area, lon, lat, **i)).count();
        inside as f64 / sample.len().max(1) as f64
    }
}

fn holds(area: &GeoArea, lon: &[f64], lat: &[f64], i: usize) -> bool {
    let (Some(lon), Some(lat)) = (lon.get(i), lat.get(i)) else {
        return false;
    };
    geo::contains(
        area,
        GeoPoint {
            lon: *lon,
            lat: *lat,
        },
    )
}

/// A coordinate as a part of its range, in 32 bits: never descending, whatever the input.
fn scale(value: f64, range: f64) -> u32 {
    ((value / range + 0.5) * f64::from(u32::MAX)) as u32
}

/// Every second bit from `bits`.
fn spread(bits: u32) -> u64 {
    let mut x = u64::from(bits);
    for (shift, mask) in [
        (16, 0x0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333),
        (1, 0x5555_5555_5555_5555),
    ] {
        x = (x | x << shift) & mask;
    }
    x
}

fn code(point: GeoPoint) -> u64 {
    spread(scale(point.lon, 360.0)) << 1 | spread(scale(point.lat, 180.0))
}

/// A square of the curve: all codes whose first `2 * level` bits are those of its corner.
#[derive(Clone, Copy)]
struct Square {
    level: u32,
    x: u32,
    y: u32,
}

impl Square {
    /// Its side less one.
    fn reach(self) -> u32 {
        u32::MAX.checked_shr(self.level).unwrap_or(0)
    }

    fn codes(self) -> (u64, u64) {
        let first = spread(self.x) << 1 | spread(self.y);
        (
            first,
            first | u64::MAX.checked_shr(2 * self.level).unwrap_or(0),
        )
    }

    fn quarters(self) -> [Self; 4] {
        let level = self.level + 1;
        let half = 1u32.checked_shl(32 - level).unwrap_or(0);
        [(0, 0), (0, half), (half, 0), (half, half)].map(|(x, y)| Self {
            level,
            x: self.x | x,
            y: self.y | y,
        })
    }
}

/// Runs of codes (first, last) that together hold all of a rectangle.
fn runs(rectangle: &Rectangle) -> Vec<(u64, u64)> {
    let x = scale(rectangle.west, 360.0)..=scale(rectangle.east, 360.0);
    let y = scale(rectangle.south, 180.0)..=scale(rectangle.north, 180.0);
    let mut whole = Vec::new();
    let mut open = VecDeque::from([Square {
        level: 0,
        x: 0,
        y: 0,
    }]);
    // Breadth first, so that squares are refined evenly.
    while let Some(square) = open.pop_front() {
        let reach = square.reach();
        let (right, top) = (square.x | reach, square.y | reach);
        if square.x > *x.end() || right < *x.start() || square.y > *y.end() || top < *y.start() {
            continue;
        }
        let inside = x.contains(&square.x)
            && x.contains(&right)
            && y.contains(&square.y)
            && y.contains(&top);
        if inside || square.level == 32 || whole.len() + open.len() >= RUNS {
            whole.push(square.codes());
        } else {
            open.extend(square.quarters());
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place() -> impl Strategy<Value = GeoPoint> {
        (-180.0f64..=180.0, -90.0f64..=90.0).prop_map(|(lon, lat)| GeoPoint { lon, lat })
    }

    proptest! {
        #[test]
        fn places_in_an_area_are_found(
            places in proptest::collection::vec(place(), 0..200),
            center in place(),
            radius in prop_oneof![0.0f64..1e5, 0.0f64..2e7],
        ) {
            let mut writer = ImageWriter::default();
            write(&mut writer, places.iter().copied().zip(0u32..).collect());
            let image = Image::open(writer.finish(), SECTIONS).unwrap();
            let stored = Places::open(&image, 0, places.len()).unwrap();
            for area in [
                GeoArea::Circle { center, radius },
                GeoArea::Box { top_left: GeoPoint { lon: center.lon, lat: 60.0 }, bottom_right: GeoPoint { lon: 10.0, lat: -60.0 } },
            ] {
                let candidates = stored.candidates(&image, &area);
                let mut found: Vec<u32> = stored.rows(&image, &area, &candidates).collect();
                found.sort_unstable();
                let expected: Vec<u32> =
                    (0u32..).zip(&places).filter(|(_, p)| geo::contains(&area, **p)).map(|(i, _)| i).collect();
                prop_assert_eq!(&found, &expected);
                let share = stored.share(&image, &area, &candidates);
                prop_assert!((0.0..=1.0).contains(&share) && (share > 0.0) <= !expected.is_empty());
            }
        }
    }

    #[test]
    fn a_small_area_has_few_candidates() {
        let grid: Vec<(GeoPoint, u32)> = (0..180 * 90)
            .map(|i| {
                let (lon, lat) = (
                    f64::from(i % 180) * 2.0 - 179.0,
                    f64::from(i / 180) * 2.0 - 89.0,
                );
                (GeoPoint { lon, lat }, i as u32)
            })
            .collect();
        let mut writer = ImageWriter::default();
        write(&mut writer, grid);
        let image = Image::open(writer.finish(), SECTIONS).unwrap();
        let stored = Places::open(&image, 0, 180 * 90).unwrap();
        let center = GeoPoint {
            lon: 13.4,
            lat: 52.5,
        };
        let area = GeoArea::Circle {
            center,
            radius: 1e6,
        };
        let candidates: usize = stored
            .candidates(&image, &area)
            .iter()
            .map(ExactSizeIterator::len)
            .sum();
        assert!(candidates < 400, "{candidates} of 16,200");
    }
}
