//! Host names, resolved without the C library: `/etc/hosts`, then the name servers of
//! `/etc/resolv.conf`.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use hyper_util::client::legacy::connect::dns::Name;
use tokio::sync::OnceCell;
use tower_service::Service;

/// Resolves the names of webhooks.
#[derive(Clone, Default)]
pub(super) struct Resolver {
    // Made at the first use: an address needs no name server, nor a configuration of one.
    resolver: Arc<OnceCell<TokioResolver>>,
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = NetError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, NetError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NetError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = self.resolver.clone();
        Box::pin(async move {
            let resolver = resolver
                .get_or_try_init(|| async { TokioResolver::builder_tokio()?.build() })
                .await?;
            let found = resolver.lookup_ip(name.as_str()).await?;
            // The connector knows the port.
            let addresses: Vec<_> = found.iter().map(|ip| SocketAddr::new(ip, 0)).collect();
            Ok(addresses.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn knows_the_hosts_file() {
        let mut resolver = Resolver::default();
        let name = "localhost".parse().unwrap();
        let found: Vec<_> = resolver.call(name).await.unwrap().collect();
        assert!(!found.is_empty() && found.iter().all(|address| address.ip().is_loopback()));
    }
}
