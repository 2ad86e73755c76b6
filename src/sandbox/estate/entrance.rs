//! An address that stays the same, whatever process is behind it at the moment.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Passes every connection on to the endpoint of that moment; without one it is closed at once,
/// as a Kubernetes Service without endpoints, or a unit that is being restarted, refuses.
pub(super) async fn run(entrance: TcpListener, endpoints: watch::Receiver<Option<SocketAddr>>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = entrance.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let (Ok((client, _)), Some(endpoint)) = (accepted, *endpoints.borrow()) else {
            continue;
        };
        let stop = stop.clone();
        tokio::spawn(async move {
            tokio::select! { () = pass(client, endpoint) => {}, () = stop.cancelled() => {} }
        });
    }
}

async fn pass(mut client: TcpStream, endpoint: SocketAddr) {
    if let Ok(mut process) = TcpStream::connect(endpoint).await {
        // Whichever side ends it, the other sees its end.
        let _ = tokio::io::copy_bidirectional(&mut client, &mut process).await;
    }
}
