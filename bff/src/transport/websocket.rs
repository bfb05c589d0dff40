//! Opening a WebSocket: who may, and how many there may be.

use axum::{
    extract::{FromRequestParts, Request, State, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chassis::{identity::Caller, problem::Problem};

use super::{Transports, protocol::SUBPROTOCOL, socket};

/// The route for WebSockets alone.
pub(super) async fn upgrade(State(transports): State<Transports>, request: Request) -> Result<Response, Problem> {
    accept(transports, request).await
}

/// Opens a WebSocket, or says why not.
pub(super) async fn accept(transports: Transports, request: Request) -> Result<Response, Problem> {
    let shared = &transports.0;
    let limits = &shared.limits;
    let (mut parts, _) = request.into_parts();
    let opened_by = parts.extensions.get::<Caller>().cloned();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await.map_err(no_upgrade)?;
    if !limits.origins.allow(&parts.headers) {
        return Err(Problem::new(StatusCode::FORBIDDEN)
            .code("ORIGIN_NOT_ALLOWED")
            .detail("pages of this origin may not use the API; see CORS_ORIGINS"));
    }
    let Some(counted) = limits.gauges.sockets.count_up_to(limits.max_sockets) else {
        return Ok(full(limits.max_sockets));
    };
    let sockets = shared.sockets.clone();
    let session = transports.clone();
    Ok(upgrade
        .protocols([SUBPROTOCOL])
        .max_message_size(limits.max_message_bytes)
        .max_frame_size(limits.max_message_bytes)
        // Each message goes out as it comes.
        .write_buffer_size(0)
        .on_upgrade(move |socket| async move {
            // Tracked, since the server that accepted it waits for upgraded connections no more.
            // Outside the span of the request, which would not end for as long as the socket is open.
            let task = sockets.track_future(async move {
                socket::serve(socket, session, opened_by).await;
                drop(counted);
            });
            task.await;
        }))
}

fn no_upgrade(rejection: WebSocketUpgradeRejection) -> Problem {
    let status = rejection.into_response().status();
    Problem::new(status)
        .code("NO_WEBSOCKET")
        .detail(format!("this is the address of a WebSocket with the subprotocol {SUBPROTOCOL}"))
}

fn full(limit: usize) -> Response {
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE)
        .code("SERVICE_UNAVAILABLE")
        .detail(format!("all {limit} WebSockets of this instance are in use; try again"));
    ([(header::RETRY_AFTER, HeaderValue::from_static("5"))], problem).into_response()
}
