//! One order, from its key to its certificate, one state after the other.
//!
//! Each step does its work so that doing it again is harmless, then writes the
//! next state; a run begins at whatever state the row has. The key and the
//! request are in the row before the server is asked for anything, so a
//! certificate the server has made is never without its key.

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, ChallengeStatus, ChallengeType, Error, Identifier, NewOrder,
    Order, OrderStatus,
};
use rusqlite::Transaction;

use crate::base::clock::UnixMs;
use crate::base::crash_point;
use crate::config::Acme;
use crate::db::DbError;
use crate::events::{self, Level, NewEvent};

use super::Inner;
use super::account::{self, server_of};
use super::acme_http::Asked;
use super::box_ca;
use super::failure::{Failure, explain};
use super::leaf;
use super::ports::Publish;
use super::precheck;
use super::state::OrderState;
use super::store::{self, orders};

/// How long the server may take to look at a challenge, or to issue.
const PATIENCE: Duration = Duration::from_secs(120);
const FIRST_LOOK: Duration = Duration::from_millis(250);
const SLOWEST_LOOK: Duration = Duration::from_secs(5);
/// Servers forget orders after a week or so; ours is given up before that.
const OLDEST: Duration = Duration::from_secs(5 * 86_400);

/// A run on the order of one host.
pub(super) struct Run<'a> {
    inner: &'a Inner,
    publish: &'a dyn Publish,
    acme: Acme,
    server: String,
    host: String,
    account: Account,
    asked: Asked,
    order: Option<Order>,
}

/// Brings the host's order from where it is to its end.
pub(super) async fn run(
    inner: &Inner,
    publish: &dyn Publish,
    acme: &Acme,
    host: &str,
) -> Result<(), Failure> {
    let row = open_or_prepare(inner, acme, host).await?;
    if row.state == OrderState::Prepared {
        precheck::exists(inner, host, acme).await?;
    }
    let asked = Asked::default();
    let account = account::open(inner, host, acme, &asked).await?;
    let mut run = Run {
        inner,
        publish,
        server: server_of(&acme.directory),
        acme: acme.clone(),
        host: host.to_owned(),
        account,
        asked,
        order: None,
    };
    run.go(row).await
}

async fn open_or_prepare(
    inner: &Inner,
    acme: &Acme,
    host: &str,
) -> Result<orders::OrderRow, Failure> {
    let wanted = host.to_owned();
    let now = UnixMs::now();
    if let Some(row) = inner.db.read(move |c| orders::open(c, &wanted)).await? {
        let fits = row.directory == acme.directory && now.since(row.created) < OLDEST;
        if fits {
            return Ok(row);
        }
        let wanted = host.to_owned();
        let why = "Another order takes its place: the server was changed, or it is too old.";
        inner
            .db
            .write(move |tx| orders::give_up_open(tx, &wanted, why, now))
            .await?;
    }
    let (key, csr) = box_ca::make_request(host)
        .map_err(|e| Failure::over(format!("No key for {host} could be made: {e}.")))?;
    let sealed = inner
        .master
        .seal_text(&key_context(host), &key)
        .map_err(DbError::from)?;
    let (wanted, directory) = (host.to_owned(), acme.directory.clone());
    crash_point::hit(&OrderState::Prepared.before());
    let row = inner
        .db
        .write(move |tx| {
            orders::prepare(tx, &wanted, &directory, &sealed, &csr, now)?;
            orders::open(tx, &wanted)
        })
        .await?
        .ok_or_else(|| Failure::keep("The order was not stored."))?;
    crash_point::hit(&OrderState::Prepared.after());
    Ok(row)
}

/// What a host's keys are sealed for, in orders and certificates alike.
pub(super) fn key_context(host: &str) -> String {
    format!("certificate_key:{host}")
}

impl Run<'_> {
    async fn go(&mut self, mut row: orders::OrderRow) -> Result<(), Failure> {
        loop {
            match row.state {
                OrderState::Prepared => row.url = Some(self.ask(&row).await?),
                OrderState::Ordered => self.show(&row).await?,
                OrderState::ChallengeLive => self.validate(&row).await?,
                OrderState::Validated => {
                    self.enter(row.id, OrderState::Finalizing, |_| Ok(()))
                        .await?;
                }
                OrderState::Finalizing => return self.finalize(&row).await,
                OrderState::Issued | OrderState::Failed => return Ok(()),
            }
            row.state = match row.state {
                OrderState::Prepared => OrderState::Ordered,
                OrderState::Ordered => OrderState::ChallengeLive,
                OrderState::ChallengeLive => OrderState::Validated,
                _ => OrderState::Finalizing,
            };
        }
    }

    /// Prepared → Ordered.
    async fn ask(&mut self, row: &orders::OrderRow) -> Result<String, Failure> {
        let names = [Identifier::Dns(self.host.clone())];
        let order = self
            .account
            .new_order(&NewOrder::new(&names))
            .await
            .map_err(|e| self.words(&e))?;
        let url = order.url().to_owned();
        self.order = Some(order);
        let (id, kept) = (row.id, url.clone());
        self.enter(row.id, OrderState::Ordered, move |tx| {
            orders::at(tx, id, &kept)
        })
        .await?;
        Ok(url)
    }

    /// Ordered → ChallengeLive: the answer is stored, published, looked at.
    async fn show(&mut self, row: &orders::OrderRow) -> Result<(), Failure> {
        let shown = self.pending_challenges(row).await?;
        let (id, kept) = (row.id, shown.clone());
        self.inner
            .db
            .write(move |tx| {
                for (token, answer) in &kept {
                    orders::keep_challenge(tx, id, token, answer)?;
                }
                Ok::<_, DbError>(())
            })
            .await?;
        self.make_live(&shown).await?;
        if let Some((token, answer)) = shown.first() {
            precheck::leads_here(self.inner, &self.host, &self.acme, token, answer).await?;
        }
        self.enter(row.id, OrderState::ChallengeLive, |_| Ok(()))
            .await
    }

    /// ChallengeLive → Validated: the server is told, and has looked.
    async fn validate(&mut self, row: &orders::OrderRow) -> Result<(), Failure> {
        let shown = self.pending_challenges(row).await?;
        self.make_live(&shown).await?;
        self.say_ready(row).await?;
        let status = self.settle(row, OrderStatus::Pending).await?;
        if status == OrderStatus::Invalid {
            return Err(self.refusal().await);
        }
        self.enter(row.id, OrderState::Validated, |_| Ok(())).await
    }

    /// Finalizing → Issued: the stored request is sent unless it was, the
    /// certificate is fetched, checked and put in service.
    async fn finalize(&mut self, row: &orders::OrderRow) -> Result<(), Failure> {
        let status = self.refreshed(row).await?;
        if status == OrderStatus::Ready {
            let server = self.server.clone();
            let (host, asked) = (self.host.clone(), self.asked.clone());
            self.order(row)
                .await?
                .finalize_csr(&row.csr)
                .await
                .map_err(|e| explain(&host, &server, &e, asked.get()))?;
        }
        let status = self.settle(row, OrderStatus::Processing).await?;
        if status != OrderStatus::Valid {
            return Err(self.refusal().await);
        }
        let words = (self.host.clone(), self.server.clone(), self.asked.clone());
        let chain = self
            .order(row)
            .await?
            .certificate()
            .await
            .map_err(|e| explain(&words.0, &words.1, &e, words.2.get()))?
            .ok_or_else(|| Failure::keep("The certificate is not ready yet."))?;
        self.serve(row, chain).await
    }

    async fn serve(&mut self, row: &orders::OrderRow, chain: String) -> Result<(), Failure> {
        let (host, now) = (self.host.clone(), UnixMs::now());
        let key = self
            .inner
            .master
            .open_text(&key_context(&host), &row.key_sealed)
            .map_err(DbError::from)?;
        let leaf = leaf::read(chain.as_bytes(), key.expose().as_bytes())
            .and_then(|leaf| {
                if leaf.facts.covers(&host) {
                    Ok(leaf)
                } else {
                    Err(format!("it names {}", leaf.facts.listed()))
                }
            })
            .map_err(|why| {
                Failure::over(format!(
                    "The certificate server {} sent a certificate that is not for {host}: {why}.",
                    self.server
                ))
            })?;
        let facts = leaf.facts;
        let new = store::NewCert {
            host: host.clone(),
            source: "acme",
            directory: Some(row.directory.clone()),
            chain_pem: chain,
            key_sealed: row.key_sealed.clone(),
            life: facts.life,
            issuer: facts.issuer.clone(),
        };
        self.enter(row.id, OrderState::Issued, move |tx| {
            let renewed = store::serve(tx, &new, now)?;
            store::name_warned(tx, &new.host, None)?;
            let (kind, verb) = if renewed {
                ("certificate.renewed", "has a new certificate")
            } else {
                ("certificate.issued", "has a certificate")
            };
            events::record(
                tx,
                now,
                &NewEvent::new(
                    kind,
                    Level::Info,
                    format!("certificate:{}", new.host),
                    format!(
                        "{} {verb} from {}, good until {}.",
                        new.host, new.issuer, new.life.not_after
                    ),
                ),
            )?;
            Ok(())
        })
        .await
    }

    /// Token and answer of each challenge the server still waits for.
    async fn pending_challenges(
        &mut self,
        row: &orders::OrderRow,
    ) -> Result<Vec<(String, String)>, Failure> {
        if self.refreshed(row).await? != OrderStatus::Pending {
            return Ok(Vec::new());
        }
        let (host, server, asked) = (self.host.clone(), self.server.clone(), self.asked.clone());
        let mut found = Vec::new();
        let mut all = self.order(row).await?.authorizations();
        while let Some(next) = all.next().await {
            let mut next = next.map_err(|e| explain(&host, &server, &e, asked.get()))?;
            if next.status != AuthorizationStatus::Pending {
                continue;
            }
            let challenge = next.challenge(ChallengeType::Http01).ok_or_else(|| {
                Failure::over(format!(
                    "The certificate server {server} offers no HTTP-01 challenge for {host}, the only kind Freehold answers."
                ))
            })?;
            found.push((
                challenge.token.clone(),
                challenge.key_authorization().as_str().to_owned(),
            ));
        }
        Ok(found)
    }

    async fn make_live(&self, shown: &[(String, String)]) -> Result<(), Failure> {
        self.inner.publish_set().await?;
        for (token, _) in shown {
            self.publish.challenge_live(token).await.map_err(|why| {
                Failure::keep(format!(
                    "The answer to the certificate authority is not live on port 80: {why}."
                ))
            })?;
        }
        Ok(())
    }

    async fn say_ready(&mut self, row: &orders::OrderRow) -> Result<(), Failure> {
        let (host, server, asked) = (self.host.clone(), self.server.clone(), self.asked.clone());
        let words = |e: Error| explain(&host, &server, &e, asked.get());
        let mut all = self.order(row).await?.authorizations();
        while let Some(next) = all.next().await {
            let mut next = next.map_err(words)?;
            if next.status != AuthorizationStatus::Pending {
                continue;
            }
            if let Some(mut challenge) = next.challenge(ChallengeType::Http01)
                && challenge.status == ChallengeStatus::Pending
            {
                challenge.set_ready().await.map_err(words)?;
            }
        }
        Ok(())
    }

    /// Asks until the order is no longer `in_state`.
    async fn settle(
        &mut self,
        row: &orders::OrderRow,
        in_state: OrderStatus,
    ) -> Result<OrderStatus, Failure> {
        let mut wait = FIRST_LOOK;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let status = self.refreshed(row).await?;
            if status != in_state {
                return Ok(status);
            }
            if tokio::time::Instant::now() + wait > deadline {
                return Err(explain(
                    &self.host,
                    &self.server,
                    &Error::Timeout(None),
                    None,
                ));
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 3 / 2).min(SLOWEST_LOOK);
        }
    }

    /// The order's present status at the server.
    async fn refreshed(&mut self, row: &orders::OrderRow) -> Result<OrderStatus, Failure> {
        let (host, server, asked) = (self.host.clone(), self.server.clone(), self.asked.clone());
        let state = self.order(row).await?.refresh().await;
        state
            .map(|s| s.status)
            .map_err(|e| explain(&host, &server, &e, asked.get()))
    }

    async fn order(&mut self, row: &orders::OrderRow) -> Result<&mut Order, Failure> {
        if self.order.is_none() {
            let url = row
                .url
                .clone()
                .ok_or_else(|| Failure::over("The order has no address at the server."))?;
            let found = self.account.order(url).await;
            self.order = Some(found.map_err(|e| self.words(&e))?);
        }
        self.order
            .as_mut()
            .ok_or_else(|| Failure::keep("The order is not at hand."))
    }

    /// Why the server turned the order down: the challenge's own error where there is one.
    async fn refusal(&mut self) -> Failure {
        let (host, server) = (self.host.clone(), self.server.clone());
        let plain = Failure::over(format!(
            "The certificate authority turned the order for {host} down without a reason."
        ));
        let Some(order) = self.order.as_mut() else {
            return plain;
        };
        let of_order = order.state().error.clone();
        let mut all = order.authorizations();
        while let Some(Ok(next)) = all.next().await {
            let error = next.challenges.iter().find_map(|c| c.error.clone());
            if let Some(problem) = error {
                return over(explain(&host, &server, &Error::Api(problem), None));
            }
        }
        of_order.map_or(plain, |p| {
            over(explain(&host, &server, &Error::Api(p), None))
        })
    }

    fn words(&self, error: &Error) -> Failure {
        explain(&self.host, &self.server, error, self.asked.get())
    }

    /// Writes a state, with what belongs to it, in one transaction. A name no
    /// longer wanted ends the run instead.
    async fn enter(
        &self,
        id: i64,
        state: OrderState,
        also: impl FnOnce(&Transaction<'_>) -> Result<(), DbError> + Send + 'static,
    ) -> Result<(), Failure> {
        let (host, now) = (self.host.clone(), UnixMs::now());
        crash_point::hit(&state.before());
        let entered = self
            .inner
            .db
            .write(move |tx| {
                if orders::open(tx, &host)?.is_none_or(|o| o.id != id) {
                    return Ok(false);
                }
                orders::enter(tx, id, state, None, now)?;
                also(tx)?;
                Ok::<_, DbError>(true)
            })
            .await?;
        crash_point::hit(&state.after());
        if entered {
            return Ok(());
        }
        Err(Failure::keep(format!(
            "{} is no longer used; its order was ended.",
            self.host
        )))
    }
}

/// An order the server calls invalid stays invalid, whatever the reason.
fn over(failure: Failure) -> Failure {
    Failure {
        fate: super::failure::Fate::Drop,
        ..failure
    }
}
