use std::collections::HashMap;
use std::path::Path;

use async_trait::async_trait;
use dapr_components::secrets::{Error, MULTIPLE_KEY_VALUES_PER_SECRET, RequestMetadata, Secret, SecretStore};
use dapr_components::{InitContext, InitError};
use dapr_wire::components::v1::secret_store_client::SecretStoreClient;
use dapr_wire::components::v1::{
    BulkGetSecretRequest, FeaturesRequest, GetSecretRequest, SecretStoreInitRequest,
};

use crate::connection::{Connection, metadata};
use crate::errors;

/// A secret store in another process.
pub struct PluggableSecrets {
    connection: Connection,
    client: SecretStoreClient<Connection>,
    features: Vec<&'static str>,
}

impl PluggableSecrets {
    pub async fn open(socket: &Path, context: &InitContext) -> Result<Self, InitError> {
        let connection = Connection::open(socket, context).await?;
        let mut client = SecretStoreClient::new(connection.clone());
        client.init(SecretStoreInitRequest { metadata: metadata(context) }).await.map_err(errors::init)?;
        let reported = client.features(FeaturesRequest {}).await.map_err(errors::init)?.into_inner();
        let features = reported
            .features
            .iter()
            .filter(|feature| *feature == MULTIPLE_KEY_VALUES_PER_SECRET)
            .map(|_| MULTIPLE_KEY_VALUES_PER_SECRET)
            .collect();
        Ok(Self { connection, client, features })
    }
}

#[async_trait]
impl SecretStore for PluggableSecrets {
    fn features(&self) -> &[&'static str] {
        &self.features
    }

    async fn get(&self, name: &str, metadata: &RequestMetadata) -> Result<Secret, Error> {
        let request = GetSecretRequest { key: name.to_owned(), metadata: metadata.clone() };
        let response = self.client.clone().get(request).await.map_err(|s| Error(errors::text(&s)))?;
        Ok(response.into_inner().data)
    }

    async fn bulk_get(&self, metadata: &RequestMetadata) -> Result<HashMap<String, Secret>, Error> {
        let request = BulkGetSecretRequest { metadata: metadata.clone() };
        let response = self.client.clone().bulk_get(request).await.map_err(|s| Error(errors::text(&s)))?;
        Ok(response.into_inner().data.into_iter().map(|(name, s)| (name, s.secrets)).collect())
    }

    async fn close(&self) {
        self.connection.close().await;
    }
}
