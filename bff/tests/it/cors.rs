//! What a page of another origin may do, as its browser asks for it.

use reqwest::{Method, RequestBuilder, Response, header::HeaderMap};
use serde_json::json;
use tokio_tungstenite::tungstenite;

use crate::{
    socket::{Socket, opening},
    world::World,
};

const SHOP: &str = "http://localhost:5173";
const EVIL: &str = "https://evil.example";

async fn world(origins: &str) -> World {
    World::start_with(|config| config.api.origins = origins.parse().unwrap()).await
}

fn request(world: &World, method: Method, origin: &str) -> RequestBuilder {
    world.client.request(method, format!("{}/graphql", world.bff.url())).header("origin", origin)
}

/// What a browser asks before it sends JSON with a token.
async fn preflight(world: &World, origin: &str) -> Response {
    let asked = request(world, Method::OPTIONS, origin).header("access-control-request-method", "POST");
    asked.header("access-control-request-headers", "authorization,content-type").send().await.unwrap()
}

/// A header `access-control-…`, or nothing.
fn control<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(format!("access-control-{name}")).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_page_of_a_listed_origin_may_ask_and_read_the_answer() {
    let world = world(&format!("https://shop.example, {SHOP}")).await;
    let preflight = preflight(&world, SHOP).await;
    assert_eq!(preflight.status(), 200);
    let headers = preflight.headers();
    assert_eq!((control(headers, "allow-origin"), control(headers, "allow-credentials")), (SHOP, "true"));
    assert_eq!(control(headers, "allow-headers"), "authorization,content-type");
    assert_eq!((control(headers, "allow-methods"), control(headers, "max-age")), ("GET,POST", "3600"));
    let vary: Vec<_> = headers.get_all("vary").iter().map(|value| value.to_str().unwrap()).collect();
    assert!(vary.join(",").contains("origin"), "{vary:?}");

    let answer = request(&world, Method::POST, SHOP).json(&json!({ "query": "{ __typename }" })).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), control(answer.headers(), "allow-origin")), (200, SHOP));
    // A shared cache must not give one origin's permission to another, nor one media type for another.
    let vary: Vec<_> = answer.headers().get_all("vary").iter().map(|value| value.to_str().unwrap()).collect();
    let vary = vary.join(",").to_lowercase();
    assert!(vary.contains("accept") && vary.contains("origin"), "{vary}");

    let stream = request(&world, Method::POST, SHOP).header("accept", "text/event-stream");
    let stream = stream.json(&json!({ "query": "subscription { orderUpdated { id } }" })).send().await.unwrap();
    assert_eq!((stream.status().as_u16(), control(stream.headers(), "allow-origin")), (200, SHOP));
}

#[tokio::test]
async fn a_page_of_a_listed_origin_reads_refusals_too() {
    let world = world(SHOP).await;
    let refused = request(&world, Method::POST, SHOP).body("{}").send().await.unwrap();
    assert_eq!((refused.status().as_u16(), control(refused.headers(), "allow-origin")), (415, SHOP));
    let refused = request(&world, Method::DELETE, SHOP).send().await.unwrap();
    assert_eq!((refused.status().as_u16(), control(refused.headers(), "allow-origin")), (405, SHOP));
}

#[tokio::test]
async fn any_other_page_gets_no_permission() {
    for origins in ["", SHOP] {
        let world = world(origins).await;
        for origin in [EVIL, "null", "http://localhost:51733", "http://LOCALHOST:5173"] {
            let asked = preflight(&world, origin).await;
            assert_eq!(control(asked.headers(), "allow-origin"), "", "{origins:?} {origin}");
            let query = json!({ "query": "{ __typename }" });
            let answer = request(&world, Method::POST, origin).json(&query).send().await.unwrap();
            assert_eq!(control(answer.headers(), "allow-origin"), "", "{origins:?} {origin}");
        }
    }
}

#[tokio::test]
async fn where_all_pages_are_allowed_none_may_send_credentials() {
    let world = world("*").await;
    let preflight = preflight(&world, EVIL).await;
    let headers = preflight.headers();
    assert_eq!((control(headers, "allow-origin"), control(headers, "allow-credentials")), ("*", ""));
    assert_eq!(control(headers, "allow-headers"), "authorization,content-type");
}

/// One list for both: who may not read an answer opens no socket either, which no browser would prevent.
#[tokio::test]
async fn the_same_pages_open_sockets() {
    for (origins, origin, expected) in
        [(SHOP, SHOP, 101), (SHOP, EVIL, 403), ("", SHOP, 403), ("*", EVIL, 101), (SHOP, "null", 403)]
    {
        let world = world(origins).await;
        for path in ["/graphql", "/graphql/ws"] {
            let headers = [("sec-websocket-protocol", "graphql-transport-ws"), ("origin", origin)];
            let status = match Socket::with(opening(world.bff.url(), path, &headers)).await {
                Ok(_) => 101,
                Err(tungstenite::Error::Http(answer)) => answer.status().as_u16(),
                Err(error) => panic!("{error}"),
            };
            assert_eq!(status, expected, "{origins:?} {origin} {path}");
        }
    }
}
