//! The protected system, with two customers: `ada`, whose orders everything is about, and `bob`.

use reqwest::{Method, Response};
use serde_json::{Value, json};
use testkit::{
    World, eventually,
    tokens::{Issuer, claims, claims_but, now, unsigned},
    world::Settings,
};

/// What a request shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Credential {
    Nothing,
    Expired,
    NotYetValid,
    WrongAudience,
    WrongIssuer,
    WrongKey,
    AlgorithmNone,
    PublicKeyAsSecret,
    OtherCustomer,
    Own,
    Operator,
}

impl Credential {
    /// Those that nobody is let in with, and the challenge that each is answered with.
    pub(crate) const REFUSED: [(Self, &'static str, &'static str); 8] = [
        (Self::Nothing, "Bearer realm=\"tandem\"", "a token is needed: Authorization: Bearer <token>"),
        (Self::Expired, INVALID, "the token has expired"),
        (Self::NotYetValid, INVALID, "the token is not valid yet"),
        (Self::WrongAudience, INVALID, "the token is for another audience"),
        (Self::WrongIssuer, INVALID, "the token is of another issuer"),
        (Self::WrongKey, INVALID, UNTRUSTED),
        (Self::AlgorithmNone, INVALID, UNTRUSTED),
        (Self::PublicKeyAsSecret, INVALID, UNTRUSTED),
    ];

    /// Those that are let in.
    pub(crate) const TAKEN: [Self; 3] = [Self::OtherCustomer, Self::Own, Self::Operator];
}

const INVALID: &str = "Bearer realm=\"tandem\", error=\"invalid_token\", error_description=\"{}\"";
const UNTRUSTED: &str = "the token is not signed by a key that is trusted here";

/// The system, and an order of each customer with its invoice.
pub(crate) struct System {
    pub(crate) world: World,
    pub(crate) issuer: Issuer,
    stranger: Issuer,
    pub(crate) ada: Placed,
    pub(crate) bob: Placed,
}

/// An order and its invoice.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub(crate) order: String,
    pub(crate) invoice: String,
}

impl System {
    pub(crate) async fn start() -> Self {
        let (issuer, stranger) = (Issuer::new(), Issuer::new());
        let world = World::with(Settings { identity: issuer.trusted(), ..Settings::default() }).await;
        let none = Placed { order: String::new(), invoice: String::new() };
        let mut system = Self { world, issuer, stranger, ada: none.clone(), bob: none };
        system.ada = system.place("ada").await;
        system.bob = system.place("bob").await;
        system
    }

    /// The token of a credential.
    pub(crate) fn token(&self, credential: Credential) -> Option<String> {
        let but = |name, value| self.issuer.sign(&claims_but("ada", name, value));
        Some(match credential {
            Credential::Nothing => return None,
            Credential::Expired => but("exp", json!(now() - 3600)),
            Credential::NotYetValid => but("nbf", json!(now() + 3000)),
            Credential::WrongAudience => but("aud", json!("another")),
            Credential::WrongIssuer => but("iss", json!("https://another.test")),
            Credential::WrongKey => self.stranger.customer("ada"),
            Credential::AlgorithmNone => unsigned(&claims("ada")),
            Credential::PublicKeyAsSecret => self.issuer.signed_with_the_public_key(&claims("ada")),
            Credential::OtherCustomer => self.issuer.customer("bob"),
            Credential::Own => self.issuer.customer("ada"),
            Credential::Operator => self.issuer.operator(),
        })
    }

    /// A new order of this customer, once it has its invoice.
    pub(crate) async fn place(&self, customer: &str) -> Placed {
        let token = self.issuer.customer(customer);
        let url = format!("{}/orders", self.world.orders_url());
        let placed = self.send(Method::POST, &url, Some(&token), Some(&json!({ "amount": 100 })), &[]).await;
        assert_eq!(placed.status(), 201);
        let order: Value = placed.json().await.unwrap();
        let order = order["id"].as_str().unwrap().to_owned();
        let url = format!("{}/invoices?orderId={order}", self.world.invoices_url());
        let invoice = eventually("the order has its invoice", || async {
            let page = self.send(Method::GET, &url, Some(&token), None, &[]).await;
            let page: Value = page.json().await.unwrap();
            page["items"][0]["id"].as_str().map(str::to_owned)
        })
        .await;
        Placed { order, invoice }
    }

    /// A request.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &str,
        token: Option<&str>,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Response {
        let mut request = self.world.http.request(method, url);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    /// Runs an operation at `url`.
    pub(crate) async fn graphql(&self, url: &str, token: Option<&str>, query: &str) -> Response {
        let url = format!("{url}/graphql");
        self.send(Method::POST, &url, token, Some(&json!({ "query": query })), &[]).await
    }

    /// What becomes of ada's order and its invoice, by an operator's token.
    pub(crate) async fn state_of(&self, placed: &Placed) -> String {
        let token = self.issuer.operator();
        let query = format!("{{ order(id: \"{}\") {{ status customerId invoice {{ status }} }} }}", placed.order);
        self.graphql(self.world.bff_url(), Some(&token), &query).await.text().await.unwrap()
    }
}
