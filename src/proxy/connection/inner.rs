//! What a watched connection answers as the connection inside would: Pingora asks streams for
//! much more than bytes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, TlsRef};
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};

use super::Watched;

#[async_trait]
impl Shutdown for Watched {
    async fn shutdown(&mut self) {
        (*self.inner).shutdown().await;
    }
}

impl UniqueID for Watched {
    fn id(&self) -> UniqueIDType {
        (*self.inner).id()
    }
}

impl Ssl for Watched {
    fn get_ssl(&self) -> Option<&TlsRef> {
        (*self.inner).get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        (*self.inner).get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        (*self.inner).selected_alpn_proto()
    }
}

impl GetTimingDigest for Watched {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        (*self.inner).get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        (*self.inner).get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        (*self.inner).get_write_pending_time()
    }
}

impl GetProxyDigest for Watched {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        (*self.inner).get_proxy_digest()
    }
}

impl GetSocketDigest for Watched {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        (*self.inner).get_socket_digest()
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("inner", &self.inner).finish_non_exhaustive()
    }
}
