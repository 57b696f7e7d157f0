//! Talking to the nodes of a cluster over mutual TLS.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use roadstead_operator_core::desired::Certificate;
use roadstead_operator_core::names::PEER_PORT;
use roadstead_proto::v1::admin_service_client::AdminServiceClient;
use roadstead_proto::v1::queue_service_client::QueueServiceClient;
use tonic::transport::{Certificate as Pem, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};

const CONNECT: Duration = Duration::from_secs(2);
/// Time to an answer, or to the beginning of a stream; a hand-over takes longest.
const ANSWER: Duration = Duration::from_secs(15);
/// Load comes with a row for each group of each partition: room for half a million.
const FRAME_MAX: usize = 64 << 20;
const PING: Duration = Duration::from_secs(10);

/// Why a node could not be asked, or what it answered.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The certificates or the address cannot be used.
    #[error("cannot connect to {pod} at {address}: {source}")]
    Connect {
        /// The pod.
        pod: String,
        /// Where it should be.
        address: String,
        /// Why.
        source: tonic::transport::Error,
    },
    /// No node that can be asked is known.
    #[error("no node of the cluster can be reached; see its pods")]
    Nobody,
    /// A node refused.
    #[error("{pod} answered {:?}: {}", status.code(), status.message())]
    Refused {
        /// The pod.
        pod: String,
        /// Its answer.
        status: Box<Status>,
    },
}

impl NodeError {
    /// The code of the answer.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused { status, .. } => Some(status.code()),
            Self::Connect { .. } | Self::Nobody => None,
        }
    }
}

/// Where a pod's peer and admin listener is: from its name and IP address to a URL.
pub type Resolve = Arc<dyn Fn(&str, &str) -> String + Send + Sync>;

/// The usual place.
pub fn resolve() -> Resolve {
    Arc::new(|_, address| {
        let host = if address.contains(':') {
            format!("[{address}]")
        } else {
            address.to_owned()
        };
        format!("https://{host}:{PEER_PORT}")
    })
}

/// A connection to one node; made when it is first used.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its pod.
    pub pod: String,
    channel: Channel,
}

impl Node {
    /// Prepares a connection to a pod of a cluster.
    ///
    /// # Errors
    /// When certificates or address cannot be used.
    pub fn new(
        pod: &str,
        url: &str,
        cluster_id: &str,
        certificate: &Certificate,
    ) -> Result<Self, NodeError> {
        let failed = |source| NodeError::Connect {
            pod: pod.to_owned(),
            address: url.to_owned(),
            source,
        };
        let tls = ClientTlsConfig::new()
            .ca_certificate(Pem::from_pem(&certificate.ca))
            .identity(Identity::from_pem(
                &certificate.certificate,
                &certificate.key,
            ))
            .domain_name(cluster_id);
        let endpoint = Endpoint::from_shared(url.to_owned()).map_err(failed)?;
        let endpoint = endpoint.tls_config(tls).map_err(failed)?;
        let endpoint = endpoint
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .http2_keep_alive_interval(PING)
            .keep_alive_timeout(CONNECT)
            .tcp_nodelay(true);
        Ok(Self {
            pod: pod.to_owned(),
            channel: endpoint.connect_lazy(),
        })
    }

    /// Its AdminService.
    pub fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel.clone()).max_decoding_message_size(FRAME_MAX)
    }

    /// Its QueueService.
    pub fn queues(&self) -> QueueServiceClient<Channel> {
        QueueServiceClient::new(self.channel.clone())
    }

    /// Says which pod answered so.
    pub fn refused(&self, status: Status) -> NodeError {
        NodeError::Refused {
            pod: self.pod.clone(),
            status: Box::new(status),
        }
    }
}

/// The nodes of one cluster that can be asked.
#[derive(Debug, Clone)]
pub struct Link {
    /// The cluster's id.
    pub cluster_id: String,
    /// Nodes that belong to the cluster.
    pub nodes: Vec<Node>,
}

impl Link {
    /// Asks one node after the other until one can answer.
    ///
    /// # Errors
    /// The answer of the first that refused, or of the last that could not be reached.
    pub async fn ask<T, F>(&self, call: impl Fn(Node) -> F) -> Result<T, NodeError>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let mut last = NodeError::Nobody;
        for node in &self.nodes {
            match call(node.clone()).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => {
                    let elsewhere = matches!(status.code(), Code::Unavailable | Code::Cancelled);
                    last = node.refused(status);
                    if !elsewhere {
                        return Err(last);
                    }
                }
            }
        }
        Err(last)
    }
}

/// Namespace and name of a cluster.
pub type ClusterKey = (String, String);

/// A connection, and the URL and certificate that it was made with.
type Known = (String, Certificate, Node);

/// Connections to the nodes of all clusters, kept as long as address and certificate stay.
#[derive(Default)]
pub struct Links {
    nodes: Mutex<BTreeMap<(ClusterKey, String), Known>>,
    links: Mutex<BTreeMap<ClusterKey, Arc<Link>>>,
}

impl Links {
    /// A connection to this pod at this URL.
    ///
    /// # Errors
    /// When certificates or address cannot be used.
    pub fn node(
        &self,
        cluster: &ClusterKey,
        (pod, url): (&str, String),
        cluster_id: &str,
        certificate: &Certificate,
    ) -> Result<Node, NodeError> {
        let key = (cluster.clone(), pod.to_owned());
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, with, node)) = nodes.get(&key)
            && *known == url
            && with == certificate
        {
            return Ok(node.clone());
        }
        let node = Node::new(pod, &url, cluster_id, certificate)?;
        nodes.insert(key, (url, certificate.clone(), node.clone()));
        Ok(node)
    }

    /// Which nodes of a cluster can be asked from now on.
    pub fn publish(&self, cluster: &ClusterKey, link: Link) {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.insert(cluster.clone(), Arc::new(link));
    }

    /// The nodes of a cluster that can be asked.
    pub fn link(&self, cluster: &ClusterKey) -> Option<Arc<Link>> {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links
            .get(cluster)
            .filter(|link| !link.nodes.is_empty())
            .cloned()
    }

    /// The id of a cluster that was seen.
    pub fn cluster_id(&self, cluster: &ClusterKey) -> Option<String> {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.get(cluster).map(|link| link.cluster_id.clone())
    }

    /// Clusters whose nodes can be asked.
    pub fn all(&self) -> Vec<(ClusterKey, Arc<Link>)> {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links
            .iter()
            .map(|(key, link)| (key.clone(), link.clone()))
            .collect()
    }

    /// Forgets a cluster.
    pub fn forget(&self, cluster: &ClusterKey) {
        self.links
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(cluster);
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.retain(|(of, _), _| of != cluster);
    }
}
