//! The Service: one address that always leads to a ready pod.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Passes every connection on to the endpoint of that moment; without one it is closed at once,
/// as a Service without endpoints refuses.
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
    if let Ok(mut pod) = TcpStream::connect(endpoint).await {
        // Whichever side ends it, the other sees its end.
        let _ = tokio::io::copy_bidirectional(&mut client, &mut pod).await;
    }
}
