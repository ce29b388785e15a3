//! Areas on Earth. Points on the edge of an area are outside, also on the edge of a hole.

use serde_json::Value;

use crate::model::{GeoArea, GeoPoint};

/// Mean radius of the Earth in metres (IUGG, Moritz 2000, "Geodetic Reference System 1980").
const EARTH_RADIUS: f64 = 6_371_008.8;
/// Room for rounding when an area is enclosed in a rectangle, in degrees: about a millimetre.
const MARGIN: f64 = 1e-8;

/// A rectangle in degrees, edges included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rectangle {
    pub(crate) south: f64,
    pub(crate) north: f64,
    pub(crate) west: f64,
    pub(crate) east: f64,
}

/// The place that a payload value describes: an object with finite `lon` and `lat` within their ranges.
pub(crate) fn point(value: &Value) -> Option<GeoPoint> {
    let object = value.as_object()?;
    let point = GeoPoint {
        lon: object.get("lon")?.as_f64()?,
        lat: object.get("lat")?.as_f64()?,
    };
    is_on_earth(point).then_some(point)
}

/// Whether the coordinates are within their ranges.
#[must_use]
pub fn is_on_earth(point: GeoPoint) -> bool {
    (-180.0..=180.0).contains(&point.lon) && (-90.0..=90.0).contains(&point.lat)
}

/// Whether the area contains the point.
pub(crate) fn contains(area: &GeoArea, point: GeoPoint) -> bool {
    match area {
        GeoArea::Box {
            top_left,
            bottom_right,
        } => {
            let between_meridians = if top_left.lon > bottom_right.lon {
                point.lon > top_left.lon || point.lon < bottom_right.lon
            } else {
                top_left.lon < point.lon && point.lon < bottom_right.lon
            };
            between_meridians && bottom_right.lat < point.lat && point.lat < top_left.lat
        }
        GeoArea::Circle { center, radius } => metres(*center, point) < *radius,
        GeoArea::Polygon {
            exterior,
            interiors,
        } => {
            side(exterior, point) == Side::Inside
                && interiors
                    .iter()
                    .all(|hole| side(hole, point) == Side::Outside)
        }
    }
}

/// Haversine distance.
pub(crate) fn metres(a: GeoPoint, b: GeoPoint) -> f64 {
    let (lat_a, lat_b) = (a.lat.to_radians(), b.lat.to_radians());
    let sin_lat = ((lat_b - lat_a) / 2.0).sin();
    let sin_lon = ((b.lon - a.lon).to_radians() / 2.0).sin();
    let h = sin_lat * sin_lat + lat_a.cos() * lat_b.cos() * sin_lon * sin_lon;
    2.0 * EARTH_RADIUS * h.sqrt().min(1.0).asin()
}

#[derive(Debug, PartialEq, Eq)]
enum Side {
    Inside,
    Outside,
    Edge,
}

/// Where a point lies to a ring: counts the edges that a ray from it crosses.
fn side(ring: &[GeoPoint], point: GeoPoint) -> Side {
    let mut inside = false;
    for pair in ring.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        let turn =
            point.lon * (a.lat - b.lat) + a.lon * (b.lat - point.lat) + b.lon * (point.lat - a.lat);
        if turn == 0.0
            && (a.lat - point.lat) * (b.lat - point.lat) <= 0.0
            && (a.lon - point.lon) * (b.lon - point.lon) <= 0.0
        {
            return Side::Edge;
        }
        if (a.lon > point.lon) != (b.lon > point.lon)
            && point.lat < (b.lat - a.lat) * (point.lon - a.lon) / (b.lon - a.lon) + a.lat
        {
            inside = !inside;
        }
    }
    if inside { Side::Inside } else { Side::Outside }
}

/// Rectangles that together contain the area: one, or two when it crosses the 180th meridian.
pub(crate) fn cover(area: &GeoArea) -> Vec<Rectangle> {
    match area {
        GeoArea::Box {
            top_left,
            bottom_right,
        } => split(
            bottom_right.lat,
            top_left.lat,
            top_left.lon,
            bottom_right.lon,
        ),
        GeoArea::Circle { center, radius } => {
            let angle = (radius / EARTH_RADIUS).to_degrees();
            let (south, north) = (center.lat - angle - MARGIN, center.lat + angle + MARGIN);
            if south <= -90.0 || north >= 90.0 {
                return split(south, north, -180.0, 180.0);
            }
            // The meridians that touch the circle.
            let reach = (angle.to_radians().sin() / center.lat.to_radians().cos())
                .clamp(-1.0, 1.0)
                .asin()
                .to_degrees()
                + MARGIN;
            let (west, east) = (center.lon - reach, center.lon + reach);
            let wrap = |lon: f64| match lon {
                lon if lon < -180.0 => lon + 360.0,
                lon if lon > 180.0 => lon - 360.0,
                lon => lon,
            };
            split(south, north, wrap(west), wrap(east))
        }
        GeoArea::Polygon { exterior, .. } => {
            let mut all = Rectangle {
                south: f64::INFINITY,
                north: f64::NEG_INFINITY,
                west: f64::INFINITY,
                east: f64::NEG_INFINITY,
            };
            for point in exterior {
                all.south = all.south.min(point.lat);
                all.north = all.north.max(point.lat);
                all.west = all.west.min(point.lon);
                all.east = all.east.max(point.lon);
            }
            vec![all]
        }
    }
}

fn split(south: f64, north: f64, west: f64, east: f64) -> Vec<Rectangle> {
    let rectangle = |west, east| Rectangle {
        south,
        north,
        west,
        east,
    };
    if west > east {
        vec![rectangle(west, 180.0), rectangle(-180.0, east)]
    } else {
        vec![rectangle(west, east)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn at(lon: f64, lat: f64) -> GeoPoint {
        GeoPoint { lon, lat }
    }

    #[test]
    fn distances_between_cities() {
        let (moscow, berlin) = (at(37.6173, 55.7558), at(13.4050, 52.5200));
        assert!((1_600_000.0..1_650_000.0).contains(&metres(moscow, berlin)));
        assert_eq!(metres(berlin, berlin), 0.0);
        let half = metres(at(0.0, 0.0), at(180.0, 0.0));
        assert!((half - EARTH_RADIUS * std::f64::consts::PI).abs() < 1.0);
    }

    #[test]
    fn places_in_payloads() {
        assert_eq!(point(&json!({"lon": 1, "lat": 2.5})), Some(at(1.0, 2.5)));
        for other in [
            json!({"lon": 1}),
            json!({"lon": "1", "lat": 2}),
            json!({"lon": 181, "lat": 2}),
            json!({"lon": 1, "lat": -90.5}),
            json!([1, 2]),
            json!(null),
        ] {
            assert_eq!(point(&other), None, "{other}");
        }
    }

    #[test]
    fn edges_are_outside_and_holes_are_left_out() {
        let square = |from: f64, to: f64| {
            vec![
                at(from, from),
                at(from, to),
                at(to, to),
                at(to, from),
                at(from, from),
            ]
        };
        let area = GeoArea::Polygon {
            exterior: square(0.0, 10.0),
            interiors: vec![square(4.0, 6.0)],
        };
        for (lon, lat, inside) in [
            (1.0, 1.0, true),
            (0.0, 5.0, false),
            (10.0, 10.0, false),
            (5.0, 5.0, false),
            (4.0, 5.0, false),
            (3.9, 5.0, true),
            (11.0, 5.0, false),
        ] {
            assert_eq!(contains(&area, at(lon, lat)), inside, "{lon} {lat}");
        }
        let pacific = GeoArea::Box {
            top_left: at(170.0, 10.0),
            bottom_right: at(-170.0, -10.0),
        };
        for (lon, lat, inside) in [
            (175.0, 0.0, true),
            (-175.0, 9.0, true),
            (170.0, 0.0, false),
            (0.0, 0.0, false),
            (180.0, 10.0, false),
        ] {
            assert_eq!(contains(&pacific, at(lon, lat)), inside, "{lon} {lat}");
        }
    }

    fn anywhere() -> impl Strategy<Value = GeoPoint> {
        (-180.0f64..=180.0, -90.0f64..=90.0).prop_map(|(lon, lat)| at(lon, lat))
    }

    fn area() -> impl Strategy<Value = GeoArea> {
        prop_oneof![
            (anywhere(), anywhere()).prop_map(|(a, b)| GeoArea::Box {
                top_left: at(a.lon, a.lat.max(b.lat)),
                bottom_right: at(b.lon, a.lat.min(b.lat)),
            }),
            (
                anywhere(),
                prop_oneof![0.0f64..10_000.0, 0.0f64..21_000_000.0]
            )
                .prop_map(|(center, radius)| GeoArea::Circle { center, radius }),
            proptest::collection::vec(anywhere(), 3..8).prop_map(|mut ring| {
                ring.push(ring[0]);
                GeoArea::Polygon {
                    exterior: ring,
                    interiors: vec![],
                }
            }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn a_cover_contains_its_area(area in area(), far in anywhere(), near in (-1.0f64..1.0, -1.0f64..1.0)) {
            let mut points = vec![far];
            if let GeoArea::Circle { center, radius } = &area {
                let scale = radius / 111_000.0;
                points.push(at((center.lon + near.0 * scale * 3.0).clamp(-180.0, 180.0), (center.lat + near.1 * scale).clamp(-90.0, 90.0)));
            }
            for point in points {
                if contains(&area, point) {
                    let covered = cover(&area).iter().any(|r| {
                        (r.south..=r.north).contains(&point.lat) && (r.west..=r.east).contains(&point.lon)
                    });
                    prop_assert!(covered, "{point:?} in {:?}", cover(&area));
                }
            }
        }
    }
}
