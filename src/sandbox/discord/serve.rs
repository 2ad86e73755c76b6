//! The sockets: accepting connections, turning HTTP into calls, and breaking connections when a fault asks for it.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, FromRequest, Multipart, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::serve::{IncomingStream, Listener};
use bytes::Bytes;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::draft::File;
use super::error::ApiError;
use super::faults::Misbehaviour;
use super::ids::AttachmentId;
use super::rest::{self, Call, Reply};
use super::{Model, control, gateway};

/// Bytes of a whole request. Source: <https://discord.com/developers/docs/resources/message#create-message>.
const REQUEST_BYTES_MAX: usize = 25 * 1024 * 1024;

/// Where a client opens the gateway.
pub(super) fn ws_url(base_url: &str) -> String {
    format!("{}/gateway-socket", base_url.replacen("http", "ws", 1))
}

/// Serves the model, and `beside` it other routes, until it is stopped.
pub(super) async fn run(model: Model, listener: TcpListener, beside: Router) {
    let router = Router::new()
        .route("/gateway-socket", get(gateway::upgrade))
        .route("/attachments/{channel}/{attachment}/{filename}", get(download))
        .nest("/sandbox/v1", control::router())
        .fallback(any(api))
        .with_state(model.clone())
        .merge(beside);
    let door = Door { listener, model };
    let service = router.into_make_service_with_connect_info::<Cut>();
    // It ends only with the task.
    let _ = axum::serve(door, service).await;
}

/// Accepts connections, or drops them at once while told to refuse.
struct Door {
    listener: TcpListener,
    model: Model,
}

impl Listener for Door {
    type Io = Line;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, address)) = self.listener.accept().await else {
                // Out of descriptors: wait for some to come back.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            if !self.model.with(|state| state.faults.refuse_connections) {
                // Small frames go out at once; failing to ask for it costs only time.
                let _ = stream.set_nodelay(true);
                return (Line { stream, cut: Cut::default() }, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// Breaks a connection: what is written after it fails, which ends the connection without an answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Cut(Arc<AtomicBool>);

impl Cut {
    pub(super) fn now(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Connected<IncomingStream<'_, Door>> for Cut {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        stream.io().cut.clone()
    }
}

/// A TCP connection that can be cut.
struct Line {
    stream: TcpStream,
    cut: Cut,
}

impl Line {
    fn check(&self) -> io::Result<()> {
        if self.cut.0.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

async fn api(State(model): State<Model>, ConnectInfo(cut): ConnectInfo<Cut>, request: Request) -> Response {
    let call = match read(request).await {
        Ok(call) => call,
        Err(error) => return (StatusCode::BAD_REQUEST, error.body().to_string()).into_response(),
    };
    let (reply, misbehaviour) = model.with(|state| rest::answer(state, &call));
    misbehave(&cut, respond(reply), misbehaviour).await
}

/// Applies the part of a fault that concerns the answer.
pub(super) async fn misbehave(cut: &Cut, response: Response, misbehaviour: Option<Misbehaviour>) -> Response {
    match misbehaviour {
        None | Some(Misbehaviour::Answer { .. } | Misbehaviour::RateLimited { .. }) => response,
        Some(Misbehaviour::Silent | Misbehaviour::SilentAfterEffect) => std::future::pending().await,
        Some(Misbehaviour::Cut | Misbehaviour::AnswerLost) => {
            cut.now();
            response
        }
        Some(Misbehaviour::Slow { by_millis }) => {
            tokio::time::sleep(Duration::from_millis(by_millis)).await;
            response
        }
        Some(Misbehaviour::GarbledAnswer) => {
            (response.status(), [(header::CONTENT_TYPE, "application/json")], "{\"id\": \"1").into_response()
        }
    }
}

async fn read(request: Request) -> Result<Call, ApiError> {
    let (parts, body) = request.into_parts();
    let too_large = |_| ApiError::new(413, 40005, "Request entity too large");
    let bytes = axum::body::to_bytes(body, REQUEST_BYTES_MAX).await.map_err(too_large)?;
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let path = parts.uri.path();
    // Another version is another API: the path then matches no route.
    let path = path.strip_prefix("/api/v10").unwrap_or(path).to_owned();
    let query = parts.uri.query().unwrap_or_default();
    let content_type = header("content-type").unwrap_or_default();
    let (body, files) = if content_type.starts_with("multipart/form-data") {
        read_multipart(content_type, bytes).await?
    } else {
        (json_body(&bytes), Vec::new())
    };
    Ok(Call {
        method: parts.method.to_string(),
        segments: path.split('/').filter(|part| !part.is_empty()).map(decode).collect(),
        path: if query.is_empty() { path } else { format!("{path}?{query}") },
        query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect::<HashMap<_, _>>(),
        authorization: header("authorization").map(ToOwned::to_owned),
        reason: header("x-audit-log-reason").map(decode),
        body,
        files,
    })
}

fn json_body(bytes: &[u8]) -> Result<Value, ApiError> {
    if bytes.is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    serde_json::from_slice(bytes).map_err(|_| ApiError::new(400, 50109, "The request body contains invalid JSON."))
}

/// Percent-decoding; `+` stays itself in a path.
fn decode(text: &str) -> String {
    let plus = text.replace('+', "%2B");
    url::form_urlencoded::parse(plus.as_bytes()).next().map(|(key, _)| key.into_owned()).unwrap_or_default()
}

async fn read_multipart(content_type: &str, bytes: Bytes) -> Result<(Result<Value, ApiError>, Vec<File>), ApiError> {
    let bad = |error: axum::extract::multipart::MultipartError| ApiError::invalid("body", error);
    let request = Request::builder().header(header::CONTENT_TYPE, content_type).body(Body::from(bytes));
    let mut request = request.map_err(|error| ApiError::invalid("body", error))?;
    // The size was checked already; axum's own limit is smaller.
    request.extensions_mut().insert(axum::extract::DefaultBodyLimit::disable());
    let mut form = Multipart::from_request(request, &()).await.map_err(|error| ApiError::invalid("body", error))?;
    let (mut body, mut files) = (Ok(Value::Object(serde_json::Map::new())), Vec::new());
    while let Some(part) = form.next_field().await.map_err(bad)? {
        let name = part.name().unwrap_or_default().to_owned();
        let filename = part.file_name().map(ToOwned::to_owned);
        let content = part.bytes().await.map_err(bad)?;
        if name == "payload_json" {
            body = json_body(&content);
            continue;
        }
        let number = name.strip_prefix("files[").and_then(|rest| rest.strip_suffix(']')).and_then(|n| n.parse().ok());
        let number = number.unwrap_or(files.len() as u64);
        let filename = filename.ok_or_else(|| ApiError::invalid("files", format!("{name} has no file name")))?;
        files.push(File { number, filename, bytes: content, description: None });
    }
    Ok((body, files))
}

fn respond(reply: Reply) -> Response {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = rate_headers(&reply);
    match reply.body {
        None => (status, headers).into_response(),
        Some(body) => (status, headers, axum::Json(body)).into_response(),
    }
}

fn rate_headers(reply: &Reply) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut put = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    };
    if let Some(standing) = &reply.standing {
        put("x-ratelimit-limit", standing.limit.to_string());
        put("x-ratelimit-remaining", standing.remaining.to_string());
        put("x-ratelimit-reset", format!("{:.3}", standing.reset.timestamp_millis() as f64 / 1000.0));
        put("x-ratelimit-reset-after", format!("{:.3}", standing.reset_after_secs));
        put("x-ratelimit-bucket", standing.bucket.clone());
    }
    if let Some((seconds, global)) = reply.limited {
        // Discord rounds the header up to whole seconds; the body has the fraction.
        put("retry-after", format!("{}", seconds.ceil().max(0.0)));
        put("x-ratelimit-scope", if global { "global" } else { "user" }.to_owned());
        if global {
            put("x-ratelimit-global", "true".to_owned());
        }
        put("via", "1.1 google".to_owned());
    }
    headers
}

async fn download(
    State(model): State<Model>,
    Path((_channel, attachment, _filename)): Path<(String, AttachmentId, String)>,
) -> Response {
    match model.with(|state| state.files.get(&attachment).cloned()) {
        // The bot's files share the page's address and must not act as it, whatever is in them.
        Some((content_type, bytes)) => {
            let harmless = "default-src 'none'; style-src 'unsafe-inline'; sandbox";
            let headers = [(header::CONTENT_SECURITY_POLICY, harmless), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
            (headers, [(header::CONTENT_TYPE, content_type)], bytes).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
