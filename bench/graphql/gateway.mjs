// A generic Federation gateway on the services at two addresses, with the least HTTP in front of it. Prints its address.

import { createServer } from 'node:http';

import { Gateway } from '../../contracts/checks/gateway.mjs';

const [ordersUrl, invoicesUrl] = process.argv.slice(2);
const gateway = await Gateway.start({ ordersUrl, invoicesUrl });

const server = createServer(async (request, response) => {
  let text = '';
  for await (const part of request.setEncoding('utf8')) text += part;
  const { query, variables } = JSON.parse(text);
  response.setHeader('content-type', 'application/graphql-response+json');
  response.end(JSON.stringify(await gateway.ask(query, variables)));
});
server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`));
