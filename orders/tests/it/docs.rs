//! The description of the REST API: the document that is committed is the one that is served, and what it says of values
//! is what the code checks.

use std::io::Read;

use contracts::CustomerId;
use flate2::read::GzDecoder;
use reqwest::{Response, header::HeaderValue, redirect::Policy};
use serde_json::{Value, json};
use testkit::{World, tokens::Issuer, world::Settings};

fn header<'r>(response: &'r Response, name: &str) -> &'r str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().redirect(Policy::none()).build().unwrap()
}

#[test]
fn the_schema_of_rest_is_the_committed_one() {
    testkit::assert_openapi("orders.json", &chassis::docs::to_text(&orders::openapi::document()));
}

#[tokio::test]
async fn the_document_is_served_to_anybody_also_where_tokens_are_needed() {
    let issuer = Issuer::new();
    let world = World::with(Settings { identity: issuer.trusted(), ..Default::default() }).await;
    let url = world.orders_url();
    assert_eq!(world.http.get(format!("{url}/orders")).send().await.unwrap().status(), 401);
    let served = world.http.get(format!("{url}/openapi.json")).send().await.unwrap();
    assert_eq!((served.status().as_u16(), header(&served, "content-type")), (200, "application/json"));
    testkit::assert_openapi("orders.json", &served.text().await.unwrap());
    assert_eq!(world.http.get(format!("{url}/docs/")).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn the_page_and_its_files_work_under_any_prefix_and_a_strict_policy() {
    let world = World::start().await;
    let (client, url) = (client(), world.orders_url());
    let redirect = client.get(format!("{url}/docs")).send().await.unwrap();
    assert_eq!((redirect.status().as_u16(), header(&redirect, "location")), (307, "docs/"));

    let page = client.get(format!("{url}/docs/")).send().await.unwrap();
    assert_eq!(header(&page, "content-type"), "text/html; charset=utf-8");
    let policy = header(&page, "content-security-policy").to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; "), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("http"), "{policy}");
    let page = page.text().await.unwrap();
    assert!(!page.contains("=\"/") && !page.contains("://"), "{page}");

    let files: Vec<&str> = page.split('"').filter(|part| part.ends_with(".js") || part.ends_with(".css")).collect();
    assert_eq!(files.len(), 4, "{files:?}");
    for file in files {
        let plain = client.get(format!("{url}/docs/{file}")).send().await.unwrap();
        assert_eq!(plain.status(), 200, "{file}");
        assert_eq!(header(&plain, "content-security-policy"), policy, "{file}");
        let kind = if file.ends_with(".js") { "text/javascript" } else { "text/css" };
        assert_eq!(header(&plain, "content-type"), format!("{kind}; charset=utf-8"));
        let plain = plain.bytes().await.unwrap();

        let gzip = client.get(format!("{url}/docs/{file}")).header("accept-encoding", "gzip").send().await.unwrap();
        let tag = header(&gzip, "etag").to_owned();
        let mut unpacked = Vec::new();
        GzDecoder::new(&*gzip.bytes().await.unwrap()).read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == plain, "{file}");

        let again = client.get(format!("{url}/docs/{file}")).header("accept-encoding", "gzip");
        assert_eq!(again.header("if-none-match", tag).send().await.unwrap().status(), 304, "{file}");
    }
    let missing = client.get(format!("{url}/docs/nothing.js")).send().await.unwrap();
    assert_eq!((missing.status().as_u16(), header(&missing, "content-type")), (404, "application/problem+json"));
}

#[tokio::test]
async fn an_order_that_has_not_changed_is_not_sent_again() {
    let world = World::start().await;
    let order = world.place(5).await;
    let url = format!("{}/orders/{order}", world.orders_url());
    let first = world.http.get(&url).send().await.unwrap();
    assert_eq!(header(&first, "cache-control"), "private, no-cache");
    let tag = header(&first, "etag").to_owned();
    let again = world.http.get(&url).header("if-none-match", &tag).send().await.unwrap();
    assert_eq!((again.status().as_u16(), header(&again, "etag")), (304, tag.as_str()));
    assert_eq!(again.text().await.unwrap(), "");

    world.http.post(format!("{url}/cancel")).send().await.unwrap();
    let changed = world.http.get(&url).header("if-none-match", &tag).send().await.unwrap();
    assert_eq!(changed.status(), 200);
    assert_eq!(changed.json::<Value>().await.unwrap()["status"], "canceled");
}

#[test]
fn the_document_describes_a_customer_id_as_it_is_checked() {
    let document = serde_json::to_value(orders::openapi::document()).unwrap();
    let schema = jsonschema::validator_for(&document["components"]["schemas"]["CustomerId"]).unwrap();
    let plane = (0..=0xffff).filter_map(char::from_u32);
    let texts = plane.flat_map(|one| [one.to_string(), format!("a{one}")]);
    let long = [String::new(), "x".repeat(255), "x".repeat(256), "\u{1f600}".repeat(255), "\u{1f600}".repeat(256)];
    for text in texts.chain(long) {
        assert_eq!(schema.is_valid(&json!(text)), CustomerId::try_from(text.clone()).is_ok(), "{text:?}");
    }
}

#[tokio::test]
async fn the_document_describes_an_idempotency_key_as_it_is_checked() {
    let world = World::start().await;
    let document = serde_json::to_value(orders::openapi::document()).unwrap();
    let parameter = &document["paths"]["/orders"]["post"]["parameters"][0];
    assert_eq!(parameter["name"], "Idempotency-Key");
    let schema = jsonschema::validator_for(&parameter["schema"]).unwrap();
    let (long, longer) = ("k".repeat(255), "k".repeat(256));
    for (key, allowed) in [
        ("k", true),
        ("a b", true),
        ("\"a b\"", true),
        ("\" \"", true),
        ("a\"b\"", true),
        (long.as_str(), true),
        (&format!("\"{long}\""), true),
        (longer.as_str(), false),
        (&format!("\"{longer}\""), false),
        ("", false),
        ("\"", false),
        ("\"\"", false),
        ("\"open", false),
        ("a\tb", false),
        ("ü", false),
    ] {
        let request = world.http.post(format!("{}/orders", world.orders_url())).json(&json!({ "amount": 1 }));
        let answer =
            request.header("Idempotency-Key", HeaderValue::from_bytes(key.as_bytes()).unwrap()).send().await.unwrap();
        assert_eq!(answer.status(), if allowed { 201 } else { 422 }, "{key}");
        assert_eq!(schema.is_valid(&json!(key)), allowed, "{key}");
        if !allowed {
            let problem: Value = answer.json().await.unwrap();
            assert_eq!(problem["errors"][0]["pointer"], "Idempotency-Key", "{problem}");
        }
    }
    let twice = world.http.post(format!("{}/orders", world.orders_url())).json(&json!({ "amount": 1 }));
    let twice = twice.header("Idempotency-Key", "one").header("Idempotency-Key", "two").send().await.unwrap();
    assert_eq!(twice.status(), 422);
}
