// The tabs of a first visit. They run as they are, in this order; no line is wider than the editor of a small window.

const create = `# 1. Create an order.
# Its invoice is issued a moment later.
mutation CreateOrder {
  createOrder(input: {
    customerId: "customer-123"
    amount: 1999
  }) {
    order {
      id
      amount
      status
    }
    userErrors { code field message }
  }
}
`;

const list = `# 2. The newest orders, their invoices,
# and what happened to each.
query Orders($first: Int, $after: String) {
  orders(first: $first, after: $after) {
    nodes {
      id
      customerId
      amount
      status
      createdAt
      invoice { id number status }
      timeline { type at traceId }
    }
    pageInfo { hasNextPage endCursor }
  }
}
`;

const watch = `# 3. Watch orders change. It stops when you
# leave this tab, so create orders in
# another window: /console is made for that.
subscription WatchOrders {
  orderUpdated {
    id
    amount
    status
    invoice { number status }
  }
}
`;

const pay = `# 4. Pay an invoice: put the id of one that
# is ISSUED into the variables, from tab 2.
# Its order turns PAID a moment later.
mutation PayInvoice($id: ID!) {
  payInvoice(id: $id) {
    invoice {
      id
      status
      paidAt
    }
    userErrors { code field message }
  }
}
`;

const cancel = `# 5. Cancel an order: put its id into the
# variables. Its invoice is voided, or
# refunded if it was paid.
mutation CancelOrder($id: ID!) {
  cancelOrder(id: $id) {
    order {
      id
      status
      invoice { status }
    }
    userErrors { code field message }
  }
}
`;

const variables = (values) => JSON.stringify(values, null, 2);

export const examples = [
  { query: create },
  { query: list, variables: variables({ first: 5 }) },
  { query: watch },
  { query: pay, variables: variables({ id: '' }) },
  { query: cancel, variables: variables({ id: '' }) },
];
