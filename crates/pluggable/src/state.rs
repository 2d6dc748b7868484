use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dapr_components::state::{
    BulkItem, Concurrency, Consistency, DeleteRequest, Error, Feature, GetRequest, Item, Operation,
    QueryItem, QueryResponse, RequestMetadata, SetRequest, StateStore, TransactionRequest, Value,
};
use dapr_components::{InitContext, InitError};
use dapr_wire::components::v1 as wire;
use dapr_wire::components::v1::queriable_state_store_client::QueriableStateStoreClient;
use dapr_wire::components::v1::state_options::{StateConcurrency, StateConsistency};
use dapr_wire::components::v1::state_store_client::StateStoreClient;
use dapr_wire::components::v1::transactional_state_operation::Request as Change;
use dapr_wire::components::v1::transactional_state_store_client::TransactionalStateStoreClient;
use dapr_wire::components::v1::transactional_store_multi_max_size_client::TransactionalStoreMultiMaxSizeClient;
use tokio::sync::OnceCell;

use crate::connection::{Connection, metadata};
use crate::{errors, query};

const SCOPE: &str = "state-pluggable-logger";
/// Patience with the question for the largest transaction.
const MAX_SIZE_TIMEOUT: Duration = Duration::from_secs(5);
const NIL_VALUE: &str = "an attempt to set a nil value was received, try to use Delete instead";

/// A state store in another process.
pub struct PluggableState {
    connection: Connection,
    store: StateStoreClient<Connection>,
    transactions: TransactionalStateStoreClient<Connection>,
    queries: QueriableStateStoreClient<Connection>,
    features: Vec<Feature>,
    /// Asked when the first transaction comes: not every component that has
    /// transactions survives the question.
    transaction_limit: OnceCell<Option<usize>>,
}

impl PluggableState {
    pub async fn open(socket: &Path, context: &InitContext) -> Result<Self, InitError> {
        let connection = Connection::open(socket, context).await?;
        let mut store = StateStoreClient::new(connection.clone());
        store.init(wire::InitRequest { metadata: metadata(context) }).await.map_err(errors::init)?;
        let reported = store.features(wire::FeaturesRequest {}).await.map_err(errors::init)?.into_inner();
        let features: Vec<_> = reported.features.iter().filter_map(|f| feature(f)).collect();
        Ok(Self {
            transactions: TransactionalStateStoreClient::new(connection.clone()),
            queries: QueriableStateStoreClient::new(connection.clone()),
            connection,
            store,
            features,
            transaction_limit: OnceCell::new(),
        })
    }
}

fn feature(reported: &str) -> Option<Feature> {
    use Feature::{DeleteWithPrefix, Etag, KeysLike, PartitionKey, QueryApi, Transactional, Ttl};
    [Etag, Transactional, QueryApi, Ttl, DeleteWithPrefix, PartitionKey, KeysLike]
        .into_iter()
        .find(|f| f.as_str() == reported)
}

/// A store that does not say has no limit.
async fn max_transaction_size(connection: &Connection) -> Option<usize> {
    let mut client = TransactionalStoreMultiMaxSizeClient::new(connection.clone());
    let asked = client.multi_max_size(wire::MultiMaxSizeRequest {});
    let failure = match tokio::time::timeout(MAX_SIZE_TIMEOUT, asked).await {
        Ok(Ok(answer)) => return usize::try_from(answer.into_inner().max_size).ok().filter(|n| *n > 0),
        Ok(Err(status)) if status.code() == tonic::Code::Unimplemented => return None,
        Ok(Err(status)) => errors::text(&status),
        Err(_) => "it did not answer in time".to_owned(),
    };
    tracing::error!(target: SCOPE, "failed to get multi max size from state store: {failure}");
    None
}

#[async_trait]
impl StateStore for PluggableState {
    fn features(&self) -> &[Feature] {
        &self.features
    }

    /// Whether it can is for the component to answer.
    fn queryable(&self) -> bool {
        true
    }

    async fn get(&self, request: &GetRequest) -> Result<Option<Item>, Error> {
        let found = self.store.clone().get(get_request(request)).await.map_err(errors::read)?.into_inner();
        Ok(item(found.data, found.etag, found.metadata, found.content_type))
    }

    async fn set(&self, request: &SetRequest) -> Result<(), Error> {
        let request = set_request(request)?;
        self.store.clone().set(request).await.map_err(errors::write)?;
        Ok(())
    }

    async fn delete(&self, request: &DeleteRequest) -> Result<(), Error> {
        self.store.clone().delete(delete_request(request)).await.map_err(errors::write)?;
        Ok(())
    }

    async fn bulk_get(&self, requests: &[GetRequest], parallelism: usize) -> Result<Vec<BulkItem>, Error> {
        let request = wire::BulkGetRequest {
            items: requests.iter().map(get_request).collect(),
            options: Some(wire::BulkGetRequestOptions {
                parallelism: i64::try_from(parallelism).unwrap_or(i64::MAX),
            }),
        };
        let answer = self.store.clone().bulk_get(request).await.map_err(errors::read)?.into_inner();
        let one = |found: wire::BulkStateItem| BulkItem {
            key: found.key,
            result: if found.error.is_empty() {
                Ok(item(found.data, found.etag, found.metadata, found.content_type))
            } else {
                Err(found.error)
            },
        };
        Ok(answer.items.into_iter().map(one).collect())
    }

    async fn bulk_set(&self, requests: &[SetRequest]) -> Result<(), Error> {
        let items = requests.iter().map(set_request).collect::<Result<_, _>>()?;
        let options = Some(wire::BulkSetRequestOptions::default());
        let request = wire::BulkSetRequest { items, options };
        self.store.clone().bulk_set(request).await.map_err(errors::write)?;
        Ok(())
    }

    async fn bulk_delete(&self, requests: &[DeleteRequest]) -> Result<(), Error> {
        let request = wire::BulkDeleteRequest {
            items: requests.iter().map(delete_request).collect(),
            options: Some(wire::BulkDeleteRequestOptions::default()),
        };
        self.store.clone().bulk_delete(request).await.map_err(errors::bulk_delete)?;
        Ok(())
    }

    async fn transact(&self, request: &TransactionRequest) -> Result<(), Error> {
        let change = |operation: &Operation| -> Result<_, Error> {
            let request = match operation {
                Operation::Upsert(set) => Change::Set(set_request(set)?),
                Operation::Delete(delete) => Change::Delete(delete_request(delete)),
            };
            Ok(wire::TransactionalStateOperation { request: Some(request) })
        };
        let request = wire::TransactionalStateRequest {
            operations: request.operations.iter().map(change).collect::<Result<_, _>>()?,
            metadata: request.metadata.clone(),
        };
        self.transactions.clone().transact(request).await.map_err(errors::read)?;
        Ok(())
    }

    async fn transaction_limit(&self) -> Option<usize> {
        *self.transaction_limit.get_or_init(|| max_transaction_size(&self.connection)).await
    }

    async fn query(&self, query: &[u8], metadata: &RequestMetadata) -> Result<QueryResponse, Error> {
        let request = wire::QueryRequest { query: Some(query::parse(query)?), metadata: metadata.clone() };
        let answer = self.queries.clone().query(request).await.map_err(errors::read)?.into_inner();
        let one = |found: wire::QueryItem| QueryItem {
            key: found.key,
            data: found.data,
            etag: found.etag.map(|etag| etag.value),
            error: found.error,
        };
        Ok(QueryResponse {
            results: answer.items.into_iter().map(one).collect(),
            token: answer.token,
            metadata: answer.metadata,
        })
    }

    async fn ping(&self) -> Result<(), Error> {
        self.store.clone().ping(wire::PingRequest {}).await.map_err(errors::read)?;
        Ok(())
    }

    async fn close(&self) {
        self.connection.close().await;
    }
}

/// The protocol does not tell a missing item from an empty one: without data
/// it is there only if it has an ETag.
fn item(
    data: Bytes,
    etag: Option<wire::Etag>,
    metadata: RequestMetadata,
    content_type: String,
) -> Option<Item> {
    let etag = etag.map(|etag| etag.value);
    if data.is_empty() && etag.as_deref().unwrap_or_default().is_empty() {
        return None;
    }
    Some(Item { data, etag, metadata, content_type: Some(content_type).filter(|t| !t.is_empty()) })
}

fn get_request(request: &GetRequest) -> wire::GetRequest {
    wire::GetRequest {
        key: request.key.clone(),
        metadata: request.metadata.clone(),
        consistency: consistency(request.consistency).into(),
    }
}

fn set_request(request: &SetRequest) -> Result<wire::SetRequest, Error> {
    if matches!(&request.value, Value::Json(text) if text.trim_ascii() == b"null") {
        return Err(Error::other(NIL_VALUE));
    }
    Ok(wire::SetRequest {
        key: request.key.clone(),
        value: request.value.as_bytes().clone(),
        etag: request.etag.clone().map(|value| wire::Etag { value }),
        metadata: request.metadata.clone(),
        options: Some(options(request.concurrency, request.consistency)),
        content_type: request.content_type.clone().unwrap_or_default(),
    })
}

fn delete_request(request: &DeleteRequest) -> wire::DeleteRequest {
    wire::DeleteRequest {
        key: request.key.clone(),
        etag: request.etag.clone().map(|value| wire::Etag { value }),
        metadata: request.metadata.clone(),
        options: Some(options(request.concurrency, request.consistency)),
    }
}

fn options(given: Concurrency, wanted: Consistency) -> wire::StateOptions {
    let concurrency = match given {
        Concurrency::Unspecified => StateConcurrency::ConcurrencyUnspecified,
        Concurrency::FirstWrite => StateConcurrency::ConcurrencyFirstWrite,
        Concurrency::LastWrite => StateConcurrency::ConcurrencyLastWrite,
    };
    wire::StateOptions { concurrency: concurrency.into(), consistency: consistency(wanted).into() }
}

fn consistency(given: Consistency) -> StateConsistency {
    match given {
        Consistency::Unspecified => StateConsistency::ConsistencyUnspecified,
        Consistency::Eventual => StateConsistency::ConsistencyEventual,
        Consistency::Strong => StateConsistency::ConsistencyStrong,
    }
}
