//! In-flight de-duplication: a query that is on its way already is not sent again, its answer is shared.
//!
//! Two queries are the same when their bytes are, and when they are asked for the same [`Caller`]: what one client may
//! see must never reach another. A flight belongs to all who wait for it. It goes on for as long as one of them does,
//! whoever began it, so it is given the service's own time limit, and each adds the deadline of its own request.
//!
//! Sharing shows a client what was true a moment before it asked. Where that matters nobody joins: mutations always fly
//! alone, and when one has ended no query joins a flight from before, so that a client reads what it has written; live
//! updates ask to fly alone, for they have just heard that something is new.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::body::Bytes;
use chassis::identity::Caller;
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};

use super::error::SubgraphError;

/// What makes two queries the same: who asks, and the request's body, which is the document and its variables.
type Key = (Caller, Bytes);

/// The body of an answer.
type Landed = Result<Bytes, SubgraphError>;

type Flight = BoxFuture<'static, Landed>;

/// The queries that are on their way to one service. As many as there are calls, which the bulkhead bounds.
#[derive(Debug, Clone, Default)]
pub(super) struct Flights(Arc<Mutex<Board>>);

#[derive(Debug, Default)]
struct Board {
    flights: HashMap<Key, (u64, WeakShared<Flight>)>,
    next: u64,
}

impl Flights {
    /// Joins the flight of this query, or begins it with `call`.
    pub(super) fn join<F>(&self, caller: &Caller, body: &Bytes, call: impl FnOnce() -> F) -> Shared<Flight>
    where
        F: Future<Output = Landed> + Send + 'static,
    {
        let key = (caller.clone(), body.clone());
        let mut board = self.lock();
        if let Some(flight) = board.flights.get(&key).and_then(|(_, flight)| flight.upgrade()) {
            return flight;
        }
        board.next += 1;
        let number = board.next;
        let landing = Landing { flights: self.clone(), key: key.clone(), number };
        let call = call();
        let flight = async move {
            // Also dropped with the flight, when nobody waits for it any more.
            let _landing = landing;
            call.await
        };
        let flight = flight.boxed().shared();
        if let Some(weak) = flight.downgrade() {
            board.flights.insert(key, (number, weak));
        }
        flight
    }

    /// From now on nobody joins a flight that has begun.
    pub(super) fn close(&self) {
        self.lock().flights.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a flight off the board when it ends.
struct Landing {
    flights: Flights,
    key: Key,
    number: u64,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut board = self.flights.lock();
        if board.flights.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            board.flights.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    /// A service that counts its calls and answers when it is let.
    #[derive(Default, Clone)]
    struct Service(Arc<(AtomicUsize, Option<Semaphore>)>);

    impl Service {
        fn shut() -> Self {
            Self(Arc::new((AtomicUsize::new(0), Some(Semaphore::new(0)))))
        }

        fn call(&self) -> impl Future<Output = Landed> + Send + 'static + use<> {
            let service = Arc::clone(&self.0);
            async move {
                let number = service.0.fetch_add(1, Ordering::SeqCst);
                if let Some(gate) = &service.1 {
                    gate.acquire().await.unwrap().forget();
                }
                Ok(Bytes::from(number.to_string()))
            }
        }

        fn open(&self, times: usize) {
            self.0.1.as_ref().unwrap().add_permits(times);
        }
    }

    const QUERY: Bytes = Bytes::from_static(b"query");

    #[tokio::test]
    async fn the_same_query_is_called_once_and_another_apart() {
        let (flights, service) = (Flights::default(), Service::shut());
        let join = |body: &Bytes| flights.join(&Caller::ANYONE, body, || service.call());
        let (one, other, apart) = (join(&QUERY), join(&QUERY), join(&Bytes::from_static(b"another")));
        service.open(2);
        let (one, other, apart) = tokio::join!(one, other, apart);
        assert_eq!((&one, apart), (&other, Ok(Bytes::from("1"))));
        assert!(flights.lock().flights.is_empty());
        service.open(1);
        assert_eq!(join(&QUERY).await, Ok(Bytes::from("2")), "what has landed is not shared");
    }

    #[tokio::test]
    async fn who_began_a_flight_may_leave_it() {
        let (flights, service) = (Flights::default(), Service::shut());
        let mut leader = Box::pin(flights.join(&Caller::ANYONE, &QUERY, || service.call()));
        assert!(futures_util::poll!(&mut leader).is_pending());
        let follower = flights.join(&Caller::ANYONE, &QUERY, || service.call());
        drop(leader);
        service.open(1);
        assert_eq!(follower.await, Ok(Bytes::from("0")));
    }

    #[tokio::test]
    async fn a_flight_that_all_have_left_is_over() {
        let (flights, service) = (Flights::default(), Service::shut());
        let mut only = Box::pin(flights.join(&Caller::ANYONE, &QUERY, || service.call()));
        assert!(futures_util::poll!(&mut only).is_pending());
        drop(only);
        assert!(flights.lock().flights.is_empty());
    }

    #[tokio::test]
    async fn after_a_mutation_nobody_joins_what_began_before() {
        let (flights, service) = (Flights::default(), Service::shut());
        let mut before = Box::pin(flights.join(&Caller::ANYONE, &QUERY, || service.call()));
        assert!(futures_util::poll!(&mut before).is_pending());
        flights.close();
        let after = flights.join(&Caller::ANYONE, &QUERY, || service.call());
        service.open(2);
        assert_eq!((before.await, after.await), (Ok(Bytes::from("0")), Ok(Bytes::from("1"))));
        assert!(flights.lock().flights.is_empty());
    }
}
