"""What Schemathesis cannot know of our values: how a cursor is made.

Cursors are opaque, and those that nobody was given are refused, so that a list never begins at a place that clients made
up. These are as `chassis/src/cursor.rs` makes them.
"""

import base64
import json
import uuid
from datetime import datetime, timezone

import schemathesis
from hypothesis import strategies as st


def cursor(at, amount, id):
    key = {"at": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), "amount": amount, "id": str(id)}
    text = json.dumps(["CREATED_AT_DESC", key])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


cursors = st.builds(
    cursor,
    at=st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 30), timezones=st.just(timezone.utc)),
    amount=st.integers(1, 2**31 - 1),
    id=st.uuids(),
)
schemathesis.openapi.format("cursor", cursors)


@schemathesis.hook
def before_call(context, case, kwargs):
    """A client gives each request a key of its own. What becomes of a used one, orders/tests/it/idempotency.rs knows."""
    if case.headers and "Idempotency-Key" in case.headers and case.meta and case.meta.generation.mode.is_positive:
        case.headers["Idempotency-Key"] = str(uuid.uuid4())
