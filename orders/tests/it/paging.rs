//! Walking a list to its end, while others add to it.

use std::collections::BTreeSet;

use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use testkit::World;
use uuid::Uuid;

/// A thousand orders of one instant: the clock alone cannot tell their order.
async fn thousand(world: &World) -> BTreeSet<String> {
    let ids: BTreeSet<String> = (0..1000).map(|_| Uuid::now_v7().to_string()).collect();
    let backend = world.orders_db().get_database_backend();
    let literal = |id: &String| match backend {
        sea_orm::DbBackend::Sqlite => format!("x'{}'", id.replace('-', "")),
        _ => format!("'{id}'"),
    };
    // Half of them at a whole second: a text format that drops the fraction would sort them elsewhere.
    for (second, half) in [("2026-01-01T10:00:00+00:00", 0), ("2026-01-01T10:00:00.500+00:00", 1)] {
        let values: Vec<String> = ids
            .iter()
            .enumerate()
            .filter(|(index, _)| index % 2 == half)
            .map(|(index, id)| {
                let amount = 1 + index % 7;
                format!("({}, 'c', {amount}, 'pending', 'issued', 1, 1, '{second}', '{second}')", literal(id))
            })
            .collect();
        let sql = format!(
            "INSERT INTO orders (id, customer_id, amount, status, invoice_status, version, event_no, created_at, updated_at) VALUES {}",
            values.join(",")
        );
        world.orders_db().execute_unprepared(&sql).await.unwrap();
    }
    ids
}

#[tokio::test]
async fn every_old_order_comes_exactly_once_while_new_ones_arrive() {
    let world = World::start().await;
    let old = thousand(&world).await;
    let query = "query($after: String, $sort: OrderSort) {
        orders(first: 70, after: $after, sort: $sort) { nodes { id createdAt amount } pageInfo { hasNextPage endCursor } }
    }";
    for sort in ["CREATED_AT_DESC", "CREATED_AT_ASC", "AMOUNT_DESC", "AMOUNT_ASC"] {
        let (mut seen, mut after) = (Vec::new(), Value::Null);
        loop {
            let page = world.orders_graphql(query, json!({ "after": after, "sort": sort })).await;
            let orders = &page["data"]["orders"];
            seen.extend(orders["nodes"].as_array().unwrap().iter().cloned());
            world.place(3).await;
            if orders["pageInfo"]["hasNextPage"] == false {
                break;
            }
            after = orders["pageInfo"]["endCursor"].clone();
        }
        let ids: Vec<String> = seen.iter().map(|order| order["id"].as_str().unwrap().to_owned()).collect();
        let found: Vec<&String> = ids.iter().filter(|id| old.contains(*id)).collect();
        let unique: BTreeSet<&String> = found.iter().copied().collect();
        assert_eq!((found.len(), unique.len()), (1000, 1000), "{sort}");
        let field = if sort.starts_with("AMOUNT") { "amount" } else { "createdAt" };
        let keys: Vec<String> = seen.iter().map(|order| order[field].to_string()).collect();
        let mut sorted = keys.clone();
        sorted.sort();
        if sort.ends_with("DESC") {
            sorted.reverse();
        }
        assert_eq!(keys, sorted, "{sort}");
    }
}

#[tokio::test]
async fn rest_walks_the_same_pages() {
    let world = World::start().await;
    let old = thousand(&world).await;
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let url = format!("{}/orders?limit=100{cursor}&status=pending&customerId=c", world.orders_url());
        let page: Value = world.http.get(url).send().await.unwrap().json().await.unwrap();
        seen.extend(page["items"].as_array().unwrap().iter().map(|order| order["id"].as_str().unwrap().to_owned()));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 1000);
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), old);
}
