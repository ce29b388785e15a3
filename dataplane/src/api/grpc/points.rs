//! The service of points: what each method is asked, who does it, and what it answers.

use tonic::{Request, Response};

use super::Api;
use super::asked::{Asked, Reply, within};
use super::convert::answers::{batches, hits, next, records, update_result};
use super::convert::{examples, groups, indexes, order, queries, reads, update, writes};
use super::proto::points_server::Points;
use super::proto::*;
use super::status::status;
use super::write::{Write, check, operation};
use crate::api::collections::{add_index, add_vector, remove_index, remove_vector};
use crate::api::dto::points::OperationDto;
use crate::api::dto::query::Batch;
use crate::api::facet::most_frequent;
use crate::api::groups::groups as grouped;
use crate::api::matrix::{matrix_offsets, matrix_pairs};
use crate::api::points::write_all;
use crate::api::query::{how_many, many, one, page, points_by_id};
use crate::error::ServiceError;

/// A read: how fresh, how soon, which message becomes which request, and what does it.
macro_rules! read {
    ($request:expr, $convert:expr, $run:expr) => {{
        let mut asked = Asked::new($request)?;
        asked.fresh(asked.message.read_consistency)?;
        let Asked {
            call,
            class,
            message,
        } = asked;
        let (timeout, name) = (message.timeout, message.collection_name.clone());
        let dto = $convert(message).map_err(status)?;
        let answer = within(timeout, class, $run(&call, &name, dto)).await?;
        (answer, call.started.elapsed().as_secs_f64())
    }};
}

/// As [`read`], of several queries of one collection. Each has a place for the name of its collection, which must not say otherwise.
macro_rules! read_batch {
    ($request:expr, $list:ident, $convert:expr) => {{
        let mut asked = Asked::new($request)?;
        asked.fresh(asked.message.read_consistency)?;
        let Asked {
            call,
            class,
            message,
        } = asked;
        let (timeout, name) = (message.timeout, message.collection_name);
        let searches = message.$list.into_iter().enumerate().map(|(i, search)| {
            let own = &search.collection_name;
            if !own.is_empty() && *own != name {
                return Err(ServiceError::BadRequest(format!(
                    "{}[{i}].collection_name is not the collection_name of the batch",
                    stringify!($list)
                )));
            }
            let place = |e: ServiceError| e.within(&format!("{}[{i}]", stringify!($list)));
            $convert(search).map_err(place)
        });
        let searches = searches.collect::<Result<_, _>>().map_err(status)?;
        let answer = within(timeout, class, many(&call, &name, Batch { searches })).await?;
        (batches(answer), call.started.elapsed().as_secs_f64())
    }};
}

#[tonic::async_trait]
impl Points for Api {
    async fn upsert(&self, request: Request<UpsertPoints>) -> Reply<PointsOperationResponse> {
        let (asked, message) = Asked::new(request)?.open();
        let UpsertPoints {
            collection_name: name,
            wait,
            points,
            ordering,
            shard_key_selector,
            update_filter,
            timeout,
            update_mode,
        } = message;
        let dto = writes::upsert(points_update_operation::PointStructList {
            points,
            shard_key_selector,
            update_filter,
            update_mode,
        });
        let write = Write {
            name,
            wait,
            timeout,
            ordering,
            dto,
        };
        write.run(asked).await
    }

    async fn delete(&self, request: Request<DeletePoints>) -> Reply<PointsOperationResponse> {
        let (asked, message) = Asked::new(request)?.open();
        let DeletePoints {
            collection_name: name,
            wait,
            points,
            ordering,
            shard_key_selector,
            timeout,
        } = message;
        let write = Write {
            name,
            wait,
            timeout,
            ordering,
            dto: writes::delete(points, shard_key_selector),
        };
        write.run(asked).await
    }

    async fn update_vectors(
        &self,
        request: Request<UpdatePointVectors>,
    ) -> Reply<PointsOperationResponse> {
        let (asked, message) = Asked::new(request)?.open();
        let UpdatePointVectors {
            collection_name: name,
            wait,
            points,
            ordering,
            shard_key_selector,
            update_filter,
            timeout,
        } = message;
        let dto = writes::update_vectors(points_update_operation::UpdateVectors {
            points,
            shard_key_selector,
            update_filter,
        });
        let write = Write {
            name,
            wait,
            timeout,
            ordering,
            dto,
        };
        write.run(asked).await
    }

    async fn delete_vectors(
        &self,
        request: Request<DeletePointVectors>,
    ) -> Reply<PointsOperationResponse> {
        let (asked, message) = Asked::new(request)?.open();
        let DeletePointVectors {
            collection_name: name,
            wait,
            points_selector,
            vectors,
            ordering,
            shard_key_selector,
            timeout,
        } = message;
        let dto = writes::delete_vectors(points_update_operation::DeleteVectors {
            points_selector,
            vectors,
            shard_key_selector,
        });
        let write = Write {
            name,
            wait,
            timeout,
            ordering,
            dto,
        };
        write.run(asked).await
    }

    async fn set_payload(
        &self,
        request: Request<SetPayloadPoints>,
    ) -> Reply<PointsOperationResponse> {
        let (asked, message) = Asked::new(request)?.open();
        payload_write(message, writes::set_payload).run(asked).await
    }

    async fn overwrite_payload(
        &self,
        request: Request<SetPayloadPoints>,
    ) -> Reply<PointsOperationResponse> {
        let (asked, message) = Asked::new(request)?.open();
        payload_write(message, writes::overwrite_payload)
            .run(asked)
            .await
    }

    async fn delete_payload(
        &self,
        request: Request<DeletePayloadPoints>,
    ) -> Reply<PointsOperationResponse> {
        let (asked, message) = Asked::new(request)?.open();
        let DeletePayloadPoints {
            collection_name: name,
            wait,
            keys,
            points_selector,
            ordering,
            shard_key_selector,
            timeout,
        } = message;
        let dto = writes::delete_payload(points_update_operation::DeletePayload {
            keys,
            points_selector,
            shard_key_selector,
        });
        let write = Write {
            name,
            wait,
            timeout,
            ordering,
            dto,
        };
        write.run(asked).await
    }

    async fn clear_payload(
        &self,
        request: Request<ClearPayloadPoints>,
    ) -> Reply<PointsOperationResponse> {
        let (asked, message) = Asked::new(request)?.open();
        let ClearPayloadPoints {
            collection_name: name,
            wait,
            points,
            ordering,
            shard_key_selector,
            timeout,
        } = message;
        let write = Write {
            name,
            wait,
            timeout,
            ordering,
            dto: writes::clear(points, shard_key_selector),
        };
        write.run(asked).await
    }

    async fn update_batch(
        &self,
        request: Request<UpdateBatchPoints>,
    ) -> Reply<UpdateBatchResponse> {
        let Asked {
            mut call,
            class,
            message,
        } = Asked::new(request)?;
        let UpdateBatchPoints {
            collection_name: name,
            wait,
            operations,
            ordering,
            timeout,
        } = message;
        check(ordering)?;
        call.params.wait = wait.unwrap_or(false);
        let dto = writes::operations(operations).map_err(status)?;
        let done = within(timeout, class, write_all(&call, &name, dto)).await?;
        let answer = UpdateBatchResponse {
            result: done.iter().map(update_result).collect(),
            time: call.started.elapsed().as_secs_f64(),
            usage: None,
        };
        Ok(Response::new(answer))
    }

    async fn create_field_index(
        &self,
        request: Request<CreateFieldIndexCollection>,
    ) -> Reply<PointsOperationResponse> {
        let Asked {
            mut call,
            class,
            message,
        } = Asked::new(request)?;
        let CreateFieldIndexCollection {
            collection_name: name,
            wait,
            field_name,
            field_type,
            field_index_params,
            ordering,
            timeout,
        } = message;
        check(ordering)?;
        call.params.wait = wait.unwrap_or(false);
        let dto = indexes::create(field_name, field_type, field_index_params).map_err(status)?;
        let done = within(timeout, class, add_index(&call, &name, dto)).await?;
        Ok(Response::new(operation(&call, &done)))
    }

    async fn delete_field_index(
        &self,
        request: Request<DeleteFieldIndexCollection>,
    ) -> Reply<PointsOperationResponse> {
        let Asked {
            mut call,
            class,
            message,
        } = Asked::new(request)?;
        let DeleteFieldIndexCollection {
            collection_name: name,
            wait,
            field_name,
            ordering,
            timeout,
        } = message;
        check(ordering)?;
        call.params.wait = wait.unwrap_or(false);
        let done = within(timeout, class, remove_index(&call, &name, &field_name)).await?;
        Ok(Response::new(operation(&call, &done)))
    }

    async fn create_vector_name(
        &self,
        request: Request<CreateVectorNameRequest>,
    ) -> Reply<PointsOperationResponse> {
        let Asked {
            mut call,
            class,
            message,
        } = Asked::new(request)?;
        let CreateVectorNameRequest {
            collection_name: name,
            wait,
            vector_name,
            timeout,
            ordering,
            vector_config,
        } = message;
        check(ordering)?;
        call.params.wait = wait.unwrap_or(false);
        let dto = update::new_vector(vector_config).map_err(status)?;
        let done = within(timeout, class, add_vector(&call, &name, vector_name, dto)).await?;
        Ok(Response::new(operation(&call, &done)))
    }

    async fn delete_vector_name(
        &self,
        request: Request<DeleteVectorNameRequest>,
    ) -> Reply<PointsOperationResponse> {
        let Asked {
            mut call,
            class,
            message,
        } = Asked::new(request)?;
        let DeleteVectorNameRequest {
            collection_name: name,
            wait,
            vector_name,
            timeout,
            ordering,
        } = message;
        check(ordering)?;
        call.params.wait = wait.unwrap_or(false);
        let done = within(timeout, class, remove_vector(&call, &name, vector_name)).await?;
        Ok(Response::new(operation(&call, &done)))
    }

    async fn get(&self, request: Request<GetPoints>) -> Reply<GetResponse> {
        let (found, time) = read!(request, reads::retrieve, points_by_id);
        Ok(Response::new(GetResponse {
            result: records(found),
            time,
            usage: None,
        }))
    }

    async fn scroll(&self, request: Request<ScrollPoints>) -> Reply<ScrollResponse> {
        let (found, time) = read!(request, reads::scroll, page);
        Ok(Response::new(ScrollResponse {
            next_page_offset: next(found.next_page_offset),
            result: records(found.points),
            time,
            usage: None,
        }))
    }

    async fn count(&self, request: Request<CountPoints>) -> Reply<CountResponse> {
        let (count, time) = read!(request, reads::how_many, how_many);
        Ok(Response::new(CountResponse {
            result: Some(CountResult { count }),
            time,
            usage: None,
        }))
    }

    async fn search(&self, request: Request<SearchPoints>) -> Reply<SearchResponse> {
        let (found, time) = read!(request, reads::search, one);
        Ok(Response::new(SearchResponse {
            result: hits(found),
            time,
            usage: None,
        }))
    }

    async fn search_batch(
        &self,
        request: Request<SearchBatchPoints>,
    ) -> Reply<SearchBatchResponse> {
        let (result, time) = read_batch!(request, search_points, reads::search);
        Ok(Response::new(SearchBatchResponse {
            result,
            time,
            usage: None,
        }))
    }

    async fn query(&self, request: Request<QueryPoints>) -> Reply<QueryResponse> {
        let (found, time) = read!(request, queries::query, one);
        Ok(Response::new(QueryResponse {
            result: hits(found),
            time,
            usage: None,
        }))
    }

    async fn query_batch(&self, request: Request<QueryBatchPoints>) -> Reply<QueryBatchResponse> {
        let (result, time) = read_batch!(request, query_points, queries::query);
        Ok(Response::new(QueryBatchResponse {
            result,
            time,
            usage: None,
        }))
    }

    async fn search_groups(
        &self,
        request: Request<SearchPointGroups>,
    ) -> Reply<SearchGroupsResponse> {
        let (found, time) = read!(request, groups::search, grouped);
        Ok(Response::new(SearchGroupsResponse {
            result: Some(groups::groups(found)),
            time,
            usage: None,
        }))
    }

    async fn query_groups(&self, request: Request<QueryPointGroups>) -> Reply<QueryGroupsResponse> {
        let (found, time) = read!(request, groups::query, grouped);
        Ok(Response::new(QueryGroupsResponse {
            result: Some(groups::groups(found)),
            time,
            usage: None,
        }))
    }

    async fn recommend(&self, request: Request<RecommendPoints>) -> Reply<RecommendResponse> {
        let (found, time) = read!(request, examples::recommend_points, one);
        Ok(Response::new(RecommendResponse {
            result: hits(found),
            time,
            usage: None,
        }))
    }

    async fn recommend_batch(
        &self,
        request: Request<RecommendBatchPoints>,
    ) -> Reply<RecommendBatchResponse> {
        let (result, time) = read_batch!(request, recommend_points, examples::recommend_points);
        Ok(Response::new(RecommendBatchResponse {
            result,
            time,
            usage: None,
        }))
    }

    async fn recommend_groups(
        &self,
        request: Request<RecommendPointGroups>,
    ) -> Reply<RecommendGroupsResponse> {
        let (found, time) = read!(request, groups::recommend, grouped);
        Ok(Response::new(RecommendGroupsResponse {
            result: Some(groups::groups(found)),
            time,
            usage: None,
        }))
    }

    async fn discover(&self, request: Request<DiscoverPoints>) -> Reply<DiscoverResponse> {
        let (found, time) = read!(request, examples::discover_points, one);
        Ok(Response::new(DiscoverResponse {
            result: hits(found),
            time,
            usage: None,
        }))
    }

    async fn discover_batch(
        &self,
        request: Request<DiscoverBatchPoints>,
    ) -> Reply<DiscoverBatchResponse> {
        let (result, time) = read_batch!(request, discover_points, examples::discover_points);
        Ok(Response::new(DiscoverBatchResponse {
            result,
            time,
            usage: None,
        }))
    }

    async fn facet(&self, request: Request<FacetCounts>) -> Reply<FacetResponse> {
        let (found, time) = read!(request, order::facet, most_frequent);
        Ok(Response::new(FacetResponse {
            hits: order::from_facet(found),
            time,
            usage: None,
        }))
    }

    async fn search_matrix_pairs(
        &self,
        request: Request<SearchMatrixPoints>,
    ) -> Reply<SearchMatrixPairsResponse> {
        let (found, time) = read!(request, groups::matrix, matrix_pairs);
        Ok(Response::new(SearchMatrixPairsResponse {
            result: Some(groups::pairs(found)),
            time,
            usage: None,
        }))
    }

    async fn search_matrix_offsets(
        &self,
        request: Request<SearchMatrixPoints>,
    ) -> Reply<SearchMatrixOffsetsResponse> {
        let (found, time) = read!(request, groups::matrix, matrix_offsets);
        Ok(Response::new(SearchMatrixOffsetsResponse {
            result: Some(groups::offsets(found)),
            time,
            usage: None,
        }))
    }
}

/// A write of payload, to merge or to replace.
fn payload_write(
    message: SetPayloadPoints,
    convert: impl FnOnce(points_update_operation::SetPayload) -> Result<OperationDto, ServiceError>,
) -> Write {
    let SetPayloadPoints {
        collection_name: name,
        wait,
        payload,
        points_selector,
        ordering,
        shard_key_selector,
        key,
        timeout,
    } = message;
    let dto = convert(points_update_operation::SetPayload {
        payload,
        points_selector,
        shard_key_selector,
        key,
    });
    Write {
        name,
        wait,
        timeout,
        ordering,
        dto,
    }
}
