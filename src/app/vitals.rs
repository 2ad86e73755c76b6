//! What the web room asks of the running bot, gathered while its parts come to life.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use crate::discord::Api;
use crate::discord::gateway::Health;
use crate::engine::{Handle, Incidents, Runs};
use crate::github::Calls;
use crate::web::{GatewayVitals, Vitals};

/// The parts as far as they live.
pub(super) struct Parts {
    api: Arc<Api>,
    github: OnceLock<Calls>,
    engine: OnceLock<Handle>,
    gateway: OnceLock<Arc<Health>>,
}

impl Parts {
    pub(super) fn new(api: Arc<Api>) -> Self {
        Self { api, github: OnceLock::new(), engine: OnceLock::new(), gateway: OnceLock::new() }
    }

    /// GitHub is used, and these are its requests.
    pub(super) fn github_lives(&self, calls: Calls) {
        self.github.get_or_init(|| calls);
    }

    /// The engine has started.
    pub(super) fn engine_lives(&self, handle: Handle) {
        self.engine.get_or_init(|| handle);
    }

    /// The gateway is about to be connected to.
    pub(super) fn gateway_lives(&self, health: Arc<Health>) {
        self.gateway.get_or_init(|| health);
    }
}

impl Vitals for Parts {
    fn runs(&self) -> Option<Arc<dyn Runs>> {
        self.engine.get().map(|handle| Arc::new(handle.clone()) as Arc<dyn Runs>)
    }

    fn incidents(&self) -> Option<Arc<dyn Incidents>> {
        self.engine.get().map(|handle| Arc::new(handle.clone()) as Arc<dyn Incidents>)
    }

    fn acts(&self) -> bool {
        self.engine.get().is_some_and(Handle::is_running)
    }

    fn gateway(&self) -> GatewayVitals {
        let Some(health) = self.gateway.get() else { return GatewayVitals::default() };
        GatewayVitals {
            connected: health.is_connected(),
            reconnects: health.sessions.load(Ordering::Relaxed).saturating_sub(1),
            unparsed: health.unparsed.load(Ordering::Relaxed),
        }
    }

    fn discord_requests(&self) -> Vec<(String, &'static str, u64)> {
        let counts = self.api.counts().into_iter();
        counts.map(|(route, outcome, count)| (route, outcome.as_str(), count)).collect()
    }

    fn github_requests(&self) -> [(&'static str, u64); 4] {
        self.github.get().cloned().unwrap_or_default().counts()
    }
}
