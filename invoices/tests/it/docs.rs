//! The description of the REST API: the document that is committed is the one that is served.

use reqwest::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use testkit::{World, tokens::Issuer, world::Settings};

#[test]
fn the_schema_of_rest_is_the_committed_one() {
    testkit::assert_openapi("invoices.json", &chassis::docs::to_text(&invoices::openapi::document()));
}

#[tokio::test]
async fn the_document_and_its_page_are_served_to_anybody_also_where_tokens_are_needed() {
    let issuer = Issuer::new();
    let world = World::with(Settings { identity: issuer.trusted(), ..Default::default() }).await;
    let url = world.invoices_url();
    assert_eq!(world.http.get(format!("{url}/invoices")).send().await.unwrap().status(), 401);
    let served = world.http.get(format!("{url}/openapi.json")).send().await.unwrap();
    assert_eq!((served.status().as_u16(), served.headers()[CONTENT_TYPE].as_bytes()), (200, &b"application/json"[..]));
    testkit::assert_openapi("invoices.json", &served.text().await.unwrap());
    assert_eq!(world.http.get(format!("{url}/docs/")).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn an_invoice_that_has_not_changed_is_not_sent_again() {
    let world = World::start().await;
    let order = world.place(5).await;
    let invoice = world.invoice_of(order, "issued").await;
    let url = format!("{}/invoices/{}", world.invoices_url(), invoice["id"].as_str().unwrap());
    let first = world.http.get(&url).send().await.unwrap();
    let tag = first.headers()[ETAG].clone();
    let ask = || world.http.get(&url).header(IF_NONE_MATCH, &tag).send();
    assert_eq!(ask().await.unwrap().status(), 304);
    assert_eq!(world.http.post(format!("{url}/pay")).send().await.unwrap().status(), 200);
    assert_eq!(ask().await.unwrap().status(), 200);
}
