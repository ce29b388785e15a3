//! Areas on Earth in filters.

use schemars::JsonSchema;
use serde::Deserialize;

use super::at_most;
use crate::engine::filter::geo::is_on_earth;
use crate::error::ServiceError;
use crate::model::{GeoArea, GeoPoint, MatchValue};

objects!(PointDto, GeoBoxDto, GeoRadiusDto, GeoPolygonDto, RingDto);

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schemars(rename = "GeoPoint")]
pub(crate) struct PointDto {
    #[schemars(range(min = -180, max = 180))]
    pub(crate) lon: f64,
    #[schemars(range(min = -90, max = 90))]
    pub(crate) lat: f64,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct GeoBoxDto {
    pub(crate) top_left: PointDto,
    pub(crate) bottom_right: PointDto,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct GeoRadiusDto {
    pub(crate) center: PointDto,
    /// Metres.
    #[schemars(range(min = 0))]
    pub(crate) radius: f64,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct GeoPolygonDto {
    pub(crate) exterior: RingDto,
    pub(crate) interiors: Option<Vec<RingDto>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
pub(crate) struct RingDto {
    pub(crate) points: Vec<PointDto>,
}

fn bad(text: impl std::fmt::Display) -> ServiceError {
    ServiceError::BadRequest(format!("filter: {text}"))
}

impl PointDto {
    fn into_model(self) -> Result<GeoPoint, ServiceError> {
        let Self { lon, lat } = self;
        let point = GeoPoint { lon, lat };
        if is_on_earth(point) {
            return Ok(point);
        }
        Err(bad(format!(
            "longitude {lon}, latitude {lat}: a longitude is from -180 to 180, a latitude from -90 to 90"
        )))
    }
}

impl GeoBoxDto {
    pub(crate) fn into_model(self) -> Result<MatchValue, ServiceError> {
        let top_left = self.top_left.into_model()?;
        let bottom_right = self.bottom_right.into_model()?;
        if top_left.lat < bottom_right.lat {
            return Err(bad(
                "the top of a 'geo_bounding_box' is not below its bottom",
            ));
        }
        Ok(MatchValue::Geo(GeoArea::Box {
            top_left,
            bottom_right,
        }))
    }
}

impl GeoRadiusDto {
    pub(crate) fn into_model(self) -> Result<MatchValue, ServiceError> {
        let center = self.center.into_model()?;
        let radius = self.radius;
        if !(0.0..=f64::MAX).contains(&radius) {
            return Err(bad(format!(
                "'geo_radius.radius' is {radius}, it must be at least 0 metres"
            )));
        }
        Ok(MatchValue::Geo(GeoArea::Circle { center, radius }))
    }
}

impl GeoPolygonDto {
    /// Rings have at most `max_list` points, and there are at most so many.
    pub(crate) fn into_model(self, max_list: usize) -> Result<MatchValue, ServiceError> {
        let holes = self.interiors.unwrap_or_default();
        at_most("'geo_polygon.interiors'", holes.len(), max_list)?;
        Ok(MatchValue::Geo(GeoArea::Polygon {
            exterior: self.exterior.into_model(max_list)?,
            interiors: holes
                .into_iter()
                .map(|ring| ring.into_model(max_list))
                .collect::<Result<_, _>>()?,
        }))
    }
}

impl RingDto {
    fn into_model(self, max_list: usize) -> Result<Vec<GeoPoint>, ServiceError> {
        at_most("a ring of 'geo_polygon'", self.points.len(), max_list)?;
        let ring = self
            .points
            .into_iter()
            .map(PointDto::into_model)
            .collect::<Result<Vec<_>, _>>()?;
        if ring.len() < 4 || ring.first() != ring.last() {
            return Err(bad(
                "a ring of 'geo_polygon' has at least 4 points, and the last is the first one",
            ));
        }
        Ok(ring)
    }
}
