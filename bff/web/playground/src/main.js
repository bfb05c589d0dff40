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

const fetcher = createGraphiQLFetcher({
  url: endpoint,
  // Pings, because gateways cut a socket on which nothing moves for a minute.
  wsClient: createClient({ url: sockets, lazy: true, keepAlive: 10_000 }),
});

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
