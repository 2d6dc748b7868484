use dapr_components::Properties;
use dapr_gocompat::bools::is_truthy;

/// Where a state store's changes are published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub publish_pubsub: String,
    pub publish_topic: String,
    /// Component of the internal topic.
    pub outbox_pubsub: String,
    /// Drops changes without a marker instead of handing them back.
    pub discard_when_missing: bool,
}

impl Config {
    /// `None` for a store without an outbox. Names count in their exact case.
    pub fn from_properties(properties: &Properties) -> Option<Self> {
        let text = |name| properties.get_exact(name).filter(|v| !v.is_empty());
        let publish_pubsub = text("outboxPublishPubsub")?.to_owned();
        let publish_topic = text("outboxPublishTopic")?.to_owned();
        let outbox_pubsub = text("outboxPubsub").unwrap_or(&publish_pubsub).to_owned();
        let discard_when_missing = text("outboxDiscardWhenMissingState").is_some_and(is_truthy);
        Some(Self { publish_pubsub, publish_topic, outbox_pubsub, discard_when_missing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_has_an_outbox_when_pubsub_and_topic_are_given() {
        let config = |items: &[(&str, &str)]| {
            Config::from_properties(&Properties::new(items.iter().copied()).unwrap())
        };
        let minimal = [("outboxPublishPubsub", "p"), ("outboxPublishTopic", "t")];
        let found = config(&minimal).unwrap();
        assert_eq!((found.outbox_pubsub.as_str(), found.discard_when_missing), ("p", false));
        assert_eq!(config(&minimal[..1]), None);
        assert_eq!(config(&[("outboxpublishpubsub", "p"), minimal[1]]), None);
        let all = [minimal[0], minimal[1], ("outboxPubsub", "i"), ("outboxDiscardWhenMissingState", "yes")];
        let found = config(&all).unwrap();
        assert_eq!((found.outbox_pubsub.as_str(), found.discard_when_missing), ("i", true));
    }
}
