//! The pages and figures over real sockets: a running engine, its journal, and an HTTP client.

mod board;
mod health;
mod metrics;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pointsman::clock::SharedClock;
use pointsman::discord::CallOutcome;
use pointsman::domain::GuildId;
use pointsman::engine::{Handle, Incidents, Runs};
use pointsman::github::Calls;
use pointsman::metrics::{Metrics, Observer as _};
use pointsman::render::board::Links;
use pointsman::store::SharedJournal;
use pointsman::web::{self, Board, BoardToken, Feed, GatewayVitals, Vitals, Web};
use secrecy::SecretString;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::harness::engine::Life;

/// What opens the board of every test.
pub(crate) const TOKEN: &str = "a token for the board";

/// What the parts of a bot would say.
pub(crate) struct FakeVitals {
    pub(crate) engine: Option<Handle>,
    pub(crate) connected: AtomicBool,
}

impl Vitals for FakeVitals {
    fn runs(&self) -> Option<Arc<dyn Runs>> {
        self.engine.clone().map(|handle| Arc::new(handle) as Arc<dyn Runs>)
    }

    fn incidents(&self) -> Option<Arc<dyn Incidents>> {
        self.engine.clone().map(|handle| Arc::new(handle) as Arc<dyn Incidents>)
    }

    fn acts(&self) -> bool {
        self.engine.as_ref().is_some_and(Handle::is_running)
    }

    fn gateway(&self) -> GatewayVitals {
        GatewayVitals { connected: self.connected.load(Ordering::SeqCst), reconnects: 2, unparsed: 1 }
    }

    fn discord_requests(&self) -> Vec<(String, &'static str, u64)> {
        use CallOutcome::{Done, Failed, Limited, Refused};
        [Done, Limited, Refused, Failed].map(|outcome| ("GET /users/@me".to_owned(), outcome.as_str(), 7)).into()
    }

    fn github_requests(&self) -> [(&'static str, u64); 4] {
        Calls::default().counts()
    }
}

/// The web room over the parts of a test, and somebody who looks at it.
pub(crate) struct Site {
    pub(crate) base: String,
    pub(crate) client: reqwest::Client,
    pub(crate) vitals: Arc<FakeVitals>,
    pub(crate) metrics: Arc<Metrics>,
    feed: Arc<Feed>,
    journal: SharedJournal,
    over: DropGuard,
    served: JoinHandle<()>,
}

/// Shows a feed the whole journal, as the measured journal of a whole bot does when the engine starts and after each append.
async fn hear(feed: &Feed, journal: &SharedJournal) {
    let mut position = 0;
    loop {
        let page = journal.read(position, 1_000).await.unwrap();
        let Some(last) = page.last() else { return };
        position = last.position;
        page.iter().for_each(|record| feed.saw(record, true));
    }
}

impl Site {
    pub(crate) async fn of(life: &Life<'_>) -> Self {
        Self::over(Some(life.handle.clone()), Arc::clone(&life.journal), Arc::new(life.bench.clock.clone())).await
    }

    pub(crate) async fn over(engine: Option<Handle>, journal: SharedJournal, clock: SharedClock) -> Self {
        Self::at(([127, 0, 0, 1], 0).into(), engine, journal, clock).await
    }

    /// A site at an address, which another may have had before it.
    pub(crate) async fn at(address: SocketAddr, engine: Option<Handle>, journal: SharedJournal, clock: SharedClock) -> Self {
        let vitals = Arc::new(FakeVitals { engine, connected: AtomicBool::new(true) });
        let metrics = Arc::new(Metrics::new("0.0.0"));
        let (feed, over) = (Arc::new(Feed::default()), CancellationToken::new());
        hear(&feed, &journal).await;
        let links = Links { chat: "https://chat.example".to_owned(), guild: GuildId::new(77) };
        let board = Board::new(BoardToken::new(&SecretString::from(TOKEN), false), links, Arc::clone(&feed));
        let vitals_of_web = Arc::clone(&vitals) as Arc<dyn Vitals>;
        let metrics_of_web = Arc::clone(&metrics);
        let journal_of_web = Arc::clone(&journal);
        let web = Web {
            vitals: vitals_of_web,
            metrics: metrics_of_web,
            journal: journal_of_web,
            clock,
            board: Some(board),
            over: over.clone(),
        };
        let listener = web::listen(address).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let served = tokio::spawn(web::serve(listener, web));
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { base, client, vitals, metrics, feed, journal, over: over.drop_guard(), served }
    }

    /// Tells what was journalled since.
    pub(crate) async fn tell(&self) {
        hear(&self.feed, &self.journal).await;
    }

    /// The server goes away, with every stream that is open. Returns the address that is free now.
    pub(crate) async fn go_away(self) -> SocketAddr {
        drop(self.over);
        self.served.await.unwrap();
        self.base.trim_start_matches("http://").parse().unwrap()
    }

    /// Status and body of a page.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.client.get(format!("{}{path}", self.base)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}
