// GraphiQL on our API: everything it needs comes from this server, so it works without a network.

import '@graphiql/plugin-explorer/style.css';
import 'graphiql/style.css';
import './style.css';
import './workers.js';

import { explorerPlugin } from '@graphiql/plugin-explorer';
import { createGraphiQLFetcher } from '@graphiql/toolkit';
import { GraphiQL, HISTORY_PLUGIN } from 'graphiql';
import { createClient } from 'graphql-ws';
import { createElement } from 'react';
import { createRoot } from 'react-dom/client';

import { examples } from './examples.js';

const endpoint = new URL('/graphql', location.href).href;
const sockets = `${endpoint.replace(/^http/, 'ws')}/ws`;

// The headers of the tab that asks: what a request says in its head, a socket says in its first message.
let headers = {};

const send = createGraphiQLFetcher({
  url: endpoint,
  wsClient: createClient({
    url: sockets,
    lazy: true,
    // Pings, because gateways cut a socket on which nothing moves for a minute.
    keepAlive: 10_000,
    connectionParams: () => headers,
    // What the client is to blame for (4400 to 4499), such as a token that is not taken, is told and not tried again.
    shouldRetry: ({ code }) => code !== undefined && (code < 4400 || code > 4499),
  }),
});

function fetcher(operation, options) {
  headers = options?.headers ?? {};
  return send(operation, options);
}

createRoot(document.getElementById('playground')).render(
  createElement(GraphiQL, {
    fetcher,
    plugins: [HISTORY_PLUGIN, explorerPlugin()],
    defaultEditorToolsVisibility: 'variables',
    defaultTabs: examples,
    isHeadersEditorEnabled: true,
    // A token must not stay in the browser's storage.
    shouldPersistHeaders: false,
    maxHistoryLength: 50,
  }),
);
