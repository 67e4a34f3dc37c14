//! The node's metrics, behind the [`metrics`](https://docs.rs/metrics) facade.
//!
//! Handles are made once per node: a recorder has to be installed before the node is.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// One handle per metric. Every one carries the label `backend`.
pub(crate) struct Metrics {
    /// `scaleout_published_total`: messages stored by this node.
    pub(crate) published: Counter,
    /// `scaleout_publish_failed_total`: messages whose publish failed.
    pub(crate) publish_failed: Counter,
    /// `scaleout_delivered_total`: messages that arrived in order for this node's subscriptions.
    pub(crate) delivered: Counter,
    /// `scaleout_gaps_total`: gaps on this node's logs.
    pub(crate) gaps: Counter,
    /// `scaleout_resets_total`: resets on this node's logs.
    pub(crate) resets: Counter,
    /// `scaleout_unreadable_total`: frames that could not be read.
    pub(crate) unreadable: Counter,
    /// `scaleout_reconnects_total`: how often the connection was regained.
    pub(crate) reconnects: Counter,
    /// `scaleout_publish_queue_messages`: messages that wait to be published.
    pub(crate) queued: Gauge,
    /// `scaleout_topics_followed`: logs that this node listens to.
    pub(crate) followed: Gauge,
    /// `scaleout_delivery_lag_seconds`: from leaving the publisher to arriving here, by both clocks.
    pub(crate) lag: Histogram,
}

impl Metrics {
    pub(crate) fn new(backend: &'static str) -> Self {
        Self {
            published: counter!("scaleout_published_total", "backend" => backend),
            publish_failed: counter!("scaleout_publish_failed_total", "backend" => backend),
            delivered: counter!("scaleout_delivered_total", "backend" => backend),
            gaps: counter!("scaleout_gaps_total", "backend" => backend),
            resets: counter!("scaleout_resets_total", "backend" => backend),
            unreadable: counter!("scaleout_unreadable_total", "backend" => backend),
            reconnects: counter!("scaleout_reconnects_total", "backend" => backend),
            queued: gauge!("scaleout_publish_queue_messages", "backend" => backend),
            followed: gauge!("scaleout_topics_followed", "backend" => backend),
            lag: histogram!("scaleout_delivery_lag_seconds", "backend" => backend),
        }
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}
