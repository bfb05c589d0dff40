//! What the databases hold, in words of the model.

use std::collections::BTreeMap;

use contracts::EventType;
use invoices::{invoice::InvoiceStatus as Settled, saga::State as InvoiceState};
use orders::{
    order::{InvoiceStatus, OrderStatus},
    saga::State as OrderState,
};
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Statement, TryGetable, prelude::DateTimeUtc};
use uuid::Uuid;

use super::{
    model::{InvoiceRow, OrderRow, Rows, Waiting},
    steps::{Fact, Label, Side},
    system::System,
};

/// Reads both databases.
///
/// # Errors
/// When something is there that has no place in the model: a second invoice, a row of an order that nobody knows.
pub(super) async fn read(system: &System, labels: &BTreeMap<Uuid, Label>) -> Result<Rows, String> {
    let mut rows = Rows::default();
    let label = |id: Uuid| labels.get(&id).copied().ok_or_else(|| format!("an order that nobody placed: {id}"));

    for row in query(
        system,
        Side::Orders,
        "SELECT id, customer_id, amount, status, invoice_status, version, event_no, reconcile_at FROM orders",
    )
    .await?
    {
        let order = OrderRow {
            state: OrderState {
                status: get::<OrderStatus>(&row, "status")?,
                invoice: get::<InvoiceStatus>(&row, "invoice_status")?,
            },
            event_no: get(&row, "event_no")?,
            version: get(&row, "version")?,
            amount: get(&row, "amount")?,
            customer: get(&row, "customer_id")?,
            history: Default::default(),
            waits: get::<Option<DateTimeUtc>>(&row, "reconcile_at")?.is_some(),
        };
        rows.orders.insert(label(get(&row, "id")?)?, order);
    }
    for row in query(system, Side::Orders, "SELECT order_id, event_type FROM order_history").await? {
        let order = label(get(&row, "order_id")?)?;
        let order = rows.orders.get_mut(&order).ok_or("a history without its order")?;
        order.history.insert(event_type(&row)?);
    }
    for row in query(system, Side::Orders, "SELECT key, order_id FROM idempotency").await? {
        rows.keys.insert(get(&row, "key")?, label(get(&row, "order_id")?)?);
    }
    for row in query(
        system,
        Side::Invoices,
        "SELECT order_id, customer_id, amount, status, version, reconcile_at FROM invoices",
    )
    .await?
    {
        let amount = get::<Option<i32>>(&row, "amount")?;
        let content = amount.zip(get::<Option<String>>(&row, "customer_id")?);
        let status = get::<Settled>(&row, "status")?;
        let state = match &content {
            Some(_) => InvoiceState::Present(status),
            None if status == Settled::Voided => InvoiceState::Tombstone,
            None => return Err(format!("an invoice without content that is {status:?}")),
        };
        let waits = get::<Option<DateTimeUtc>>(&row, "reconcile_at")?.is_some();
        let invoice = InvoiceRow { state, version: get(&row, "version")?, content, waits };
        let order = label(get(&row, "order_id")?)?;
        if rows.invoices.insert(order, invoice).is_some() {
            return Err(format!("two invoices for {order:?}"));
        }
    }
    for side in Side::BOTH {
        for row in query(system, side, "SELECT order_id, event_type, event_no, asks, parked_at FROM outbox").await? {
            let fact = Fact { order: label(get(&row, "order_id")?)?, event: event_type(&row)? };
            let waiting = Waiting { number: get(&row, "event_no")?, asks: get(&row, "asks")? };
            if fact.side() != side || rows.outbox.insert(fact, waiting).is_some() {
                return Err(format!("{fact:?} is told twice, or by the wrong service"));
            }
            if get::<Option<DateTimeUtc>>(&row, "parked_at")?.is_some() {
                return Err(format!("{fact:?} was parked"));
            }
        }
    }
    Ok(rows)
}

/// The ids of all orders.
pub(super) async fn order_ids(system: &System) -> Vec<Uuid> {
    let rows = query(system, Side::Orders, "SELECT id FROM orders").await.unwrap();
    rows.iter().map(|row| row.try_get("", "id").unwrap()).collect()
}

/// The id of the row of an order's invoice.
pub(super) async fn invoice_id(system: &System, order: Uuid) -> Option<Uuid> {
    let rows = query(system, Side::Invoices, "SELECT id, order_id FROM invoices").await.unwrap();
    let of_order = rows.iter().find(|row| row.try_get::<Uuid>("", "order_id").unwrap() == order)?;
    Some(of_order.try_get("", "id").unwrap())
}

async fn query(system: &System, side: Side, sql: &str) -> Result<Vec<QueryResult>, String> {
    let db = system.db(side);
    let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), sql)).await;
    rows.map_err(|error| error.to_string())
}

fn get<T: TryGetable>(row: &QueryResult, column: &str) -> Result<T, String> {
    row.try_get("", column).map_err(|error: DbErr| error.to_string())
}

fn event_type(row: &QueryResult) -> Result<EventType, String> {
    get::<String>(row, "event_type")?.parse().map_err(|error: contracts::DecodeError| error.to_string())
}
