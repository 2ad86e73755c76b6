//! A wire between a client and a server that can be cut and put on another server.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Connections to its address reach the server that it is put on; while it is cut, none do, and those that were are broken.
pub(crate) struct Wire {
    address: SocketAddr,
    carrier: Option<JoinHandle<()>>,
}

impl Wire {
    /// A wire to the server at `base`, an address like `http://127.0.0.1:4000`.
    pub(crate) async fn to(base: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { address, carrier: Some(tokio::spawn(carry(listener, socket(base)))) }
    }

    /// The address on this side.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Breaks every connection, and takes none any more.
    pub(crate) async fn cut(&mut self) {
        let carrier = self.carrier.take().expect("it is not cut");
        carrier.abort();
        let _ = carrier.await;
    }

    /// Puts a cut wire on a server, the same or another.
    pub(crate) async fn put_on(&mut self, base: &str) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.carrier = Some(tokio::spawn(carry(listener, socket(base))));
    }
}

fn socket(base: &str) -> SocketAddr {
    base.trim_start_matches("http://").parse().unwrap()
}

/// The set of connections dies with the task.
async fn carry(listener: TcpListener, server: SocketAddr) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (mut near, _) = listener.accept().await.unwrap();
        connections.spawn(async move {
            if let Ok(mut far) = TcpStream::connect(server).await {
                let _ = copy_bidirectional(&mut near, &mut far).await;
            }
        });
    }
}
