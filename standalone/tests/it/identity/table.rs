//! The table: every operation, over every transport, with every credential, and the exact answer.

use reqwest::Response;
use serde_json::{Value, json};
use testkit::{EventStream, Socket, StreamEvent, socket::opening};
use uuid::Uuid;

use super::{
    answer::Owners,
    operations::{self, Graphql, Rest, Schema},
    system::{Credential, Placed, System},
};

/// Lines that are not as they should be.
#[derive(Default)]
struct Table {
    lines: usize,
    wrong: Vec<String>,
}

impl Table {
    fn check(&mut self, what: &str, credential: Credential, expected: &str, found: &str) {
        self.lines += 1;
        if expected != found {
            self.wrong.push(format!("{what}\n    {credential:?}\n      expected: {expected}\n      found:    {found}"));
        }
    }

    fn finish(self, at_least: usize) {
        let (lines, wrong) = (self.lines, self.wrong.len());
        assert!(self.wrong.is_empty(), "{wrong} of {lines} lines are wrong:\n\n{}\n", self.wrong.join("\n"));
        // A table that has lost its lines would be right, too.
        assert!(lines >= at_least, "{lines} lines");
    }
}

/// What is filled into the texts of operations.
struct Values {
    placed: Placed,
    cursor: String,
    key: String,
}

impl Values {
    fn fill(&self, text: &str) -> String {
        text.replace("$order", &self.placed.order)
            .replace("$invoice", &self.placed.invoice)
            .replace("$cursor", &self.cursor)
            .replace("$key", &self.key)
    }

    /// The same question about nothing.
    fn of_nothing(&self) -> Self {
        let placed = Placed { order: Uuid::now_v7().to_string(), invoice: Uuid::now_v7().to_string() };
        Self { placed, cursor: self.cursor.clone(), key: self.key.clone() }
    }
}

/// Ada has an order, one more behind which the cursor is, and one that was placed with a key.
async fn values(system: &System) -> Values {
    let token = system.issuer.customer("ada");
    let key = Uuid::now_v7().to_string();
    let url = format!("{}/orders", system.world.orders_url());
    let body = json!({ "amount": 100 });
    let headers = [("idempotency-key", key.as_str())];
    let placed = system.send(reqwest::Method::POST, &url, Some(&token), Some(&body), &headers).await;
    assert_eq!(placed.status(), 201);
    let page = system.send(reqwest::Method::GET, &format!("{url}?limit=1"), Some(&token), None, &[]).await;
    let page: Value = page.json().await.unwrap();
    let cursor = page["nextCursor"].as_str().unwrap().to_owned();
    Values { placed: system.ada.clone(), cursor, key }
}

impl Rest {
    async fn ask(&self, system: &System, values: &Values, token: Option<&str>) -> Response {
        let service =
            if self.path.starts_with("/orders") { system.world.orders_url() } else { system.world.invoices_url() };
        let url = format!("{service}{}", values.fill(self.path));
        let headers = [("idempotency-key", values.key.as_str())];
        let headers = if self.key { &headers[..] } else { &[] };
        system.send(self.method.clone(), &url, token, self.body.as_ref(), headers).await
    }
}

impl Graphql {
    async fn ask(&self, system: &System, schema: Schema, values: &Values, token: Option<&str>) -> Response {
        system.graphql(url_of(system, schema), token, &values.fill(self.document)).await
    }
}

fn url_of(system: &System, schema: Schema) -> &str {
    match schema {
        Schema::Orders => system.world.orders_url(),
        Schema::Invoices => system.world.invoices_url(),
        Schema::Bff => system.world.bff_url(),
    }
}

/// A refusal: its status, challenge and sentence.
async fn refusal(response: Response) -> String {
    let status = response.status().as_u16();
    let header = |name| response.headers().get(name).map_or("none", |value| value.to_str().unwrap()).to_owned();
    let (challenge, media) = (header("www-authenticate"), header("content-type"));
    let body: Value = response.json().await.unwrap();
    format!("{status} {challenge} {media} {} {}", body["code"], body["detail"])
}

fn expected_refusal(challenge: &str, detail: &str) -> String {
    let challenge = challenge.replace("{}", detail);
    format!("401 {challenge} application/problem+json \"UNAUTHENTICATED\" {}", json!(detail))
}

/// All that a client can see of an answer, but for the time.
async fn all_of(response: Response) -> String {
    let mut headers: Vec<String> = response
        .headers()
        .iter()
        .filter(|(name, _)| *name != "date")
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    headers.sort();
    let status = response.status();
    format!("{status}\n{}\n{}", headers.join("\n"), response.text().await.unwrap())
}

#[tokio::test]
async fn over_http_everybody_is_answered_what_they_may_see_and_nothing_else() {
    let system = System::start().await;
    let values = values(&system).await;
    let (rest, graphql) = (operations::rest(), operations::graphql());
    let before = system.state_of(&system.ada).await;
    let mut table = Table::default();

    for (credential, challenge, detail) in Credential::REFUSED {
        let token = system.token(credential);
        let expected = expected_refusal(challenge, detail);
        for operation in &rest {
            let found = refusal(operation.ask(&system, &values, token.as_deref()).await).await;
            table.check(&format!("{} {}", operation.method, operation.path), credential, &expected, &found);
        }
        for operation in &graphql {
            for schema in operation.schemas {
                let found = refusal(operation.ask(&system, *schema, &values, token.as_deref()).await).await;
                table.check(&format!("{schema:?} {}", operation.document), credential, &expected, &found);
            }
        }
    }
    assert_eq!(system.state_of(&system.ada).await, before, "nobody was let in, and something has changed");

    for (column, credential) in Credential::TAKEN.into_iter().enumerate() {
        let token = system.token(credential);
        // Of what an owner and an operator change, each gets their own.
        let values = match credential {
            Credential::OtherCustomer => Values { placed: system.ada.clone(), ..self::values(&system).await },
            _ => Values { placed: system.place("ada").await, ..self::values(&system).await },
        };
        for operation in &rest {
            let response = operation.ask(&system, &values, token.as_deref()).await;
            let found = Owners::of(&system).await.rest(response).await;
            table.check(
                &format!("{} {}", operation.method, operation.path),
                credential,
                operation.expected[column],
                &found,
            );
        }
        for operation in &graphql {
            for schema in operation.schemas {
                // Paid and canceled above.
                let values = match credential {
                    Credential::OtherCustomer => &values,
                    _ if operation.document.contains("payInvoice") => &self::Values {
                        placed: system.place("ada").await,
                        cursor: values.cursor.clone(),
                        key: values.key.clone(),
                    },
                    _ => &values,
                };
                let response = operation.ask(&system, *schema, values, token.as_deref()).await;
                assert_eq!(response.status(), 200);
                let answer: Value = response.json().await.unwrap();
                let found = Owners::of(&system).await.graphql(&answer);
                table.check(
                    &format!("{schema:?} {}", operation.document),
                    credential,
                    operation.expected[column],
                    &found,
                );
            }
        }
        if credential == Credential::OtherCustomer {
            assert_eq!(system.state_of(&system.ada).await, before, "bob has changed something of ada's");
        }
    }
    table.finish(350);
}

/// Not only in a few words: to the last byte, an answer about somebody else's order is the one about no order.
#[tokio::test]
async fn what_is_somebody_elses_cannot_be_told_from_what_is_not_there() {
    let system = System::start().await;
    let theirs = values(&system).await;
    let nothing = theirs.of_nothing();
    let token = system.token(Credential::OtherCustomer);
    let about_one = |text: &str| text.contains("$order") || text.contains("$invoice");
    let hide = |answer: String, values: &Values| {
        answer.replace(&values.placed.order, "$order").replace(&values.placed.invoice, "$invoice")
    };
    let mut compared = 0;
    for operation in operations::rest().iter().filter(|operation| about_one(operation.path)) {
        let ours = hide(all_of(operation.ask(&system, &theirs, token.as_deref()).await).await, &theirs);
        let none = hide(all_of(operation.ask(&system, &nothing, token.as_deref()).await).await, &nothing);
        assert_eq!(ours, none, "{}", operation.path);
        compared += 1;
    }
    for operation in operations::graphql().iter().filter(|operation| about_one(operation.document)) {
        for schema in operation.schemas {
            let ours = hide(all_of(operation.ask(&system, *schema, &theirs, token.as_deref()).await).await, &theirs);
            let none = hide(all_of(operation.ask(&system, *schema, &nothing, token.as_deref()).await).await, &nothing);
            assert_eq!(ours, none, "{schema:?} {}", operation.document);
            compared += 1;
        }
    }
    assert!(compared > 15, "{compared}");
}

/// The operations of the BFF, and the one that goes on.
fn documents() -> Vec<Graphql> {
    let mut all: Vec<_> = operations::graphql().into_iter().filter(|one| one.schemas.contains(&Schema::Bff)).collect();
    let one = r#"subscription { orderUpdated(id: "$order") { id invoice { id } } }"#;
    all.push(Graphql { schemas: &[Schema::Bff], document: one, expected: ["ORDER_NOT_FOUND", "ada(ada)", "ada(ada)"] });
    all
}

#[tokio::test]
async fn over_a_websocket_everybody_is_answered_what_they_may_see_and_nothing_else() {
    let system = System::start().await;
    let before = system.state_of(&system.ada).await;
    let mut table = Table::default();
    let url = system.world.bff_url();

    for (credential, challenge, detail) in Credential::REFUSED {
        let token = system.token(credential);
        let what = "WebSocket, token in connection_init";
        let mut socket = Socket::open(url).await;
        let payload = token.as_ref().map(|token| json!({ "Authorization": format!("Bearer {token}") }));
        socket.say(json!({ "type": "connection_init", "payload": payload })).await;
        let (code, reason) = socket.closed().await;
        table.check(what, credential, &format!("4403 Forbidden: {detail}"), &format!("{code} {reason}"));

        // Whoever does not wait for the answer is not served either.
        let mut socket = Socket::open(url).await;
        socket
            .subscribe(
                "1",
                &Values { placed: system.ada.clone(), cursor: String::new(), key: String::new() }
                    .fill(r#"{ order(id: "$order") { id } }"#),
            )
            .await;
        let (code, reason) = socket.closed().await;
        table.check("WebSocket, no connection_init", credential, "4401 Unauthorized", &format!("{code} {reason}"));

        let Some(token) = token else { continue };
        let bearer = format!("Bearer {token}");
        for path in ["/graphql/ws", "/graphql"] {
            let headers = [("sec-websocket-protocol", "graphql-transport-ws"), ("authorization", bearer.as_str())];
            let refused = Socket::with(opening(url, path, &headers)).await.err().unwrap();
            let found = match refused {
                tokio_tungstenite::tungstenite::Error::Http(response) => {
                    let challenge = response.headers()["www-authenticate"].to_str().unwrap().to_owned();
                    format!("{} {challenge}", response.status().as_u16())
                }
                other => other.to_string(),
            };
            let expected = format!("401 {}", challenge.replace("{}", detail));
            table.check(&format!("WebSocket {path}, token in a header"), credential, &expected, &found);
        }
    }
    assert_eq!(system.state_of(&system.ada).await, before);

    for (column, credential) in Credential::TAKEN.into_iter().enumerate() {
        let bearer = format!("Bearer {}", system.token(credential).unwrap());
        let headers = [("sec-websocket-protocol", "graphql-transport-ws"), ("authorization", bearer.as_str())];
        let (mut by_header, mut by_payload) =
            (Socket::with(opening(url, "/graphql", &headers)).await.unwrap(), Socket::open(url).await);
        by_header.say(json!({ "type": "connection_init" })).await;
        by_payload.say(json!({ "type": "connection_init", "payload": { "authorization": bearer } })).await;
        for (how, mut socket) in [("header", by_header), ("payload", by_payload)] {
            assert_eq!(socket.hear().await["type"], "connection_ack");
            let values = Values {
                placed: if credential == Credential::OtherCustomer {
                    system.ada.clone()
                } else {
                    system.place("ada").await
                },
                ..values(&system).await
            };
            // What is paid or canceled by one is so for the next: the subscription comes first.
            for operation in documents().iter().rev() {
                let values = match operation.document.contains("payInvoice") && credential != Credential::OtherCustomer
                {
                    true => &Values {
                        placed: system.place("ada").await,
                        cursor: values.cursor.clone(),
                        key: values.key.clone(),
                    },
                    false => &values,
                };
                let id = Uuid::now_v7().to_string();
                socket.subscribe(&id, &values.fill(operation.document)).await;
                let answer = loop {
                    let message = socket.hear().await;
                    if message["id"] != id.as_str() {
                        continue;
                    }
                    break match message["type"].as_str().unwrap() {
                        "next" => message["payload"].clone(),
                        "error" => json!({ "errors": message["payload"] }),
                        other => panic!("{other}"),
                    };
                };
                socket.say(json!({ "id": id, "type": "complete" })).await;
                let found = Owners::of(&system).await.graphql(&answer);
                let found = found.trim_start_matches("null ").to_owned();
                let expected = operation.expected[column].trim_start_matches("null ");
                table.check(&format!("WebSocket by {how}: {}", operation.document), credential, expected, &found);
            }
        }
        if credential == Credential::OtherCustomer {
            assert_eq!(system.state_of(&system.ada).await, before, "bob has changed something of ada's");
        }
    }
    table.finish(110);
}

#[tokio::test]
async fn over_event_streams_everybody_is_answered_what_they_may_see_and_nothing_else() {
    let system = System::start().await;
    let before = system.state_of(&system.ada).await;
    let values_of_ada = values(&system).await;
    let mut table = Table::default();
    let url = system.world.bff_url();
    for operation in &documents() {
        let body = json!({ "query": values_of_ada.fill(operation.document) });
        for (credential, challenge, detail) in Credential::REFUSED {
            let token = system.token(credential);
            let found = match EventStream::try_of(url, &body, token.as_deref()).await {
                Ok(_) => "an event stream".to_owned(),
                Err(refused) => refusal(refused).await,
            };
            table.check(
                &format!("SSE {}", operation.document),
                credential,
                &expected_refusal(challenge, detail),
                &found,
            );
        }
    }
    assert_eq!(system.state_of(&system.ada).await, before);
    for (column, credential) in Credential::TAKEN.into_iter().enumerate() {
        let token = system.token(credential);
        let fresh =
            if credential == Credential::OtherCustomer { system.ada.clone() } else { system.place("ada").await };
        let values = Values { placed: fresh, ..values(&system).await };
        for operation in documents().iter().rev() {
            let values = match operation.document.contains("payInvoice") && credential != Credential::OtherCustomer {
                true => &Values {
                    placed: system.place("ada").await,
                    cursor: values.cursor.clone(),
                    key: values.key.clone(),
                },
                false => &values,
            };
            let body = json!({ "query": values.fill(operation.document) });
            let mut stream = EventStream::try_of(url, &body, token.as_deref()).await.unwrap();
            let answer = stream.answer().await;
            let found = Owners::of(&system).await.graphql(&answer);
            let found = found.trim_start_matches("null ").to_owned();
            let expected = operation.expected[column].trim_start_matches("null ");
            table.check(&format!("SSE {}", operation.document), credential, expected, &found);
            if !operation.document.starts_with("subscription") {
                assert_eq!(stream.next().await, StreamEvent::Complete);
            }
        }
        if credential == Credential::OtherCustomer {
            assert_eq!(system.state_of(&system.ada).await, before, "bob has changed something of ada's");
        }
    }
    table.finish(150);
}
