//! The console and the playground as a browser fetches them. What they do is tested in a real one: `web/tests`.

use std::{collections::HashSet, io::Read};

use flate2::read::GzDecoder;
use reqwest::{Response, header};

use crate::world::World;

const PAGES: [&str; 4] = ["/console", "/console/", "/playground", "/playground/"];

async fn get(world: &World, path: &str, headers: &[(&str, &str)]) -> Response {
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let request = client.get(format!("{}{path}", world.bff.url()));
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send().await.unwrap()
}

fn header<'r>(response: &'r Response, name: &str) -> &'r str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// The paths that a text names in quotes and that are assets.
fn assets(text: &str) -> HashSet<String> {
    text.split(['"', '\'']).filter(|part| part.contains("/assets/")).map(str::to_owned).collect()
}

#[tokio::test]
async fn pages_and_their_assets_are_there_under_a_strict_policy() {
    let world = World::start().await;
    for page in PAGES {
        let response = get(&world, page, &[]).await;
        assert_eq!(response.status(), 200, "{page}");
        assert_eq!(header(&response, "content-type"), "text/html; charset=utf-8");
        assert_eq!(header(&response, "cache-control"), "no-cache");
        assert_eq!(header(&response, "x-content-type-options"), "nosniff");
        let policy = header(&response, "content-security-policy").to_owned();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("http"), "{policy}");

        let assets = assets(&response.text().await.unwrap());
        assert!(assets.len() >= 2, "{page}: {assets:?}");
        for asset in assets {
            let response = get(&world, &asset, &[]).await;
            assert_eq!(response.status(), 200, "{asset}");
            assert_eq!(header(&response, "cache-control"), "public, max-age=31536000, immutable", "{asset}");
            let expected = match asset.rsplit('.').next().unwrap() {
                "js" => "text/javascript; charset=utf-8",
                "css" => "text/css; charset=utf-8",
                _ => "image/svg+xml",
            };
            assert_eq!(header(&response, "content-type"), expected, "{asset}");
            assert_eq!(header(&response, "content-security-policy"), policy);
        }
    }
}

#[tokio::test]
async fn each_form_of_a_file_is_the_same_content() {
    let world = World::start().await;
    let page = get(&world, "/playground", &[]).await.text().await.unwrap();
    for path in assets(&page).into_iter().chain(["/playground".to_owned(), "/console".to_owned()]) {
        let plain = get(&world, &path, &[]).await;
        assert_eq!(header(&plain, "content-encoding"), "");
        assert_eq!(header(&plain, "vary"), "Accept-Encoding");
        let plain = plain.bytes().await.unwrap();

        let gzip = get(&world, &path, &[("accept-encoding", "gzip")]).await;
        assert_eq!(header(&gzip, "content-encoding"), "gzip");
        let mut unpacked = Vec::new();
        GzDecoder::new(&*gzip.bytes().await.unwrap()).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, plain, "{path}");

        let best = get(&world, &path, &[("accept-encoding", "gzip, deflate, br")]).await;
        let expected = if path == "/console" { "gzip" } else { "br" };
        assert_eq!(header(&best, "content-encoding"), expected, "{path}");
        assert!(best.bytes().await.unwrap().len() < plain.len());
    }
}

#[tokio::test]
async fn what_a_browser_has_is_not_sent_again() {
    let world = World::start().await;
    for page in ["/console", "/playground"] {
        let first = get(&world, page, &[("accept-encoding", "gzip")]).await;
        let tag = header(&first, "etag").to_owned();
        for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}")] {
            let again = get(&world, page, &[("accept-encoding", "gzip"), ("if-none-match", &known)]).await;
            assert_eq!(again.status(), 304, "{known}");
            assert_eq!(header(&again, "etag"), tag);
            assert_eq!(again.text().await.unwrap(), "");
        }
        // Another form, another tag.
        let plain = get(&world, page, &[("if-none-match", &tag)]).await;
        assert_eq!(plain.status(), 200);
    }
}

#[tokio::test]
async fn browsers_are_sent_from_the_root_to_the_console_and_programs_get_a_list() {
    let world = World::start().await;
    let browser = get(&world, "/", &[("accept", "text/html,application/xhtml+xml,*/*;q=0.8")]).await;
    assert_eq!((browser.status().as_u16(), header(&browser, "location")), (307, "/console"));
    for accept in ["*/*", "application/json"] {
        let program = get(&world, "/", &[("accept", accept)]).await;
        assert_eq!(program.status(), 200);
        assert_eq!(header(&program, header::VARY.as_str()), "Accept");
        let index: serde_json::Value = program.json().await.unwrap();
        assert_eq!((&index["console"], &index["graphql"]), (&"/console".into(), &"/graphql".into()));
    }
}

#[tokio::test]
async fn the_console_is_told_where_traces_are() {
    let template = "http://localhost:16686/trace/{traceId}";
    let world = World::start_with(|config| config.api.pages.trace_url_template = Some(template.parse().unwrap())).await;
    let settings: serde_json::Value = get(&world, "/console/config.json", &[]).await.json().await.unwrap();
    assert_eq!(settings, serde_json::json!({ "traceUrlTemplate": template }));
}

#[tokio::test]
async fn what_is_not_there_is_a_problem() {
    let world = World::start().await;
    for path in [
        "/console/assets/old/app.js",
        "/console/nothing",
        "/playground/assets/nothing.js",
        "/playground/assets/..%2findex.html",
    ] {
        let response = get(&world, path, &[("accept", "text/html")]).await;
        assert_eq!(response.status(), 404, "{path}");
        assert_eq!(header(&response, "content-type"), "application/problem+json");
    }
}
