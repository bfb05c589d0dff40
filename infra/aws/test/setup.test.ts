// The scripts that prepare databases and broker, as their tasks run them, on real servers: TEST_DATABASE_URL and
// TEST_BROKER_ADMIN_URL, which ./test.sh gives.

import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { promisify } from "node:util";
import { afterEach, describe, expect, it } from "vitest";
import { usersAndPermissions } from "../src/broker";
import { BASH, script } from "../src/setup";

const { TEST_DATABASE_URL: DATABASE_URL, TEST_BROKER_ADMIN_URL: BROKER_ADMIN_URL } = process.env;
const run = promisify(execFile);

/** As a task runs it: nothing but its own variables. */
const bash = (name: string, env: Record<string, string>) =>
  run(BASH[0]!, [...BASH.slice(1), script(name)], { env: { PATH: process.env.PATH!, ...env } });

describe.skipIf(!DATABASE_URL)("the roles of a database", () => {
  const server = new URL(DATABASE_URL ?? "postgres://none");
  const suffix = randomBytes(4).toString("hex");
  const [database, owner, role, administrator] = ["db", "owner", "role", "admin"].map((kind) => `tandem_setup_${kind}_${suffix}`) as [string, string, string, string];
  const where = { PGHOST: server.hostname, PGPORT: server.port || "5432" };
  const password = "it's \"quoted\" \\ $HOME";
  const sql = async (user: string, secret: string, name: string, text: string) => {
    const { stdout } = await run("psql", ["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-d", name, "-c", text], {
      env: { PATH: process.env.PATH!, ...where, PGUSER: user, PGPASSWORD: secret },
    });
    return stdout.trim();
  };
  const superuser = (text: string, name = "postgres") => sql(decodeURIComponent(server.username), decodeURIComponent(server.password), name, text);
  const setUp = (changes: Record<string, string> = {}) =>
    bash("database.sh", {
      ...where,
      PGUSER: administrator,
      PGPASSWORD: "admin",
      DATABASE: database,
      MAINTENANCE_DATABASE: "postgres",
      OWNER: owner,
      OWNER_PASSWORD: password,
      ROLE: role,
      ROLE_PASSWORD: password,
      ...changes,
    });

  afterEach(async () => {
    await superuser(`DROP DATABASE IF EXISTS ${database}`);
    for (const name of [role, owner, administrator]) await superuser(`DROP ROLE IF EXISTS ${name}`);
  });

  it("are made by an administrator that is no superuser, as often as one likes, and the service can read and write and no more", async () => {
    // As RDS has it.
    await superuser(`CREATE ROLE ${administrator} LOGIN CREATEROLE CREATEDB PASSWORD 'admin'`);
    const { stdout } = await setUp();
    expect(stdout).toBe(`the database ${database} and the roles ${owner} and ${role} are set up\n`);
    await setUp();

    await sql(owner, password, database, "CREATE TABLE orders (id int); INSERT INTO orders VALUES (1)");
    expect(await sql(role, password, database, "UPDATE orders SET id = 2 RETURNING id")).toBe("2");
    await expect(sql(role, password, database, "CREATE TABLE mine (id int)")).rejects.toThrow("permission denied for schema public");
    await expect(sql(role, password, database, "DROP TABLE orders")).rejects.toThrow("must be owner of table orders");
    // Passwords that nobody can guess, and that others cannot be told apart by.
    expect(await superuser(`SELECT count(*) FROM pg_authid WHERE rolname IN ('${owner}', '${role}') AND rolpassword LIKE 'SCRAM-SHA-256%'`)).toBe("2");
    // A stranger on the same server does not get in.
    expect(await superuser(`SELECT has_database_privilege('pg_monitor', '${database}', 'CONNECT')`)).toBe("f");
  });

  it("are made where the administrator is the owner, as on Neon", async () => {
    await superuser(`CREATE ROLE ${owner} LOGIN CREATEROLE CREATEDB PASSWORD 'from-neon'`);
    await superuser(`CREATE DATABASE ${database} OWNER ${owner}`);
    await setUp({ PGUSER: owner, PGPASSWORD: "from-neon", OWNER_PASSWORD: "from-neon", MAINTENANCE_DATABASE: database });
    await sql(owner, "from-neon", database, "CREATE TABLE orders (id int)");
    expect(await sql(role, password, database, "SELECT count(*) FROM orders")).toBe("0");
  });

  it("end with the error of the server when it says no", async () => {
    await superuser(`CREATE ROLE ${administrator} LOGIN PASSWORD 'admin'`);
    await expect(setUp()).rejects.toThrow("permission denied to create role");
  });
});

describe.skipIf(!BROKER_ADMIN_URL)("the users of a broker", () => {
  const admin = new URL(BROKER_ADMIN_URL ?? "http://none");
  const suffix = randomBytes(4).toString("hex");
  const vhost = `tandem-setup-${suffix}`;
  const ask = async (method: string, path: string, user = admin.username, password = admin.password) => {
    const response = await fetch(`${admin.origin}/api/${path}`, {
      method,
      headers: { authorization: `Basic ${Buffer.from(`${decodeURIComponent(user)}:${decodeURIComponent(password)}`).toString("base64")}`, "content-type": "application/json" },
      body: method === "PUT" ? "{}" : null,
    });
    const text = await response.text();
    const body = text ? JSON.parse(text) : undefined;
    return { body, reason: body?.reason };
  };
  const users = ["orders", "invoices", "bff"].map((name) => `${name}-${suffix}`);
  /** The real definitions, with names that no other test has. */
  const definitions = (password: string) => {
    const { users: made, permissions, topic_permissions } = usersAndPermissions({ orders: password, invoices: password, bff: password }) as Record<string, any[]>;
    return JSON.stringify({
      users: made!.map((user) => ({ ...user, name: `${user.name}-${suffix}` })),
      permissions: permissions!.map((each) => ({ ...each, user: `${each.user}-${suffix}`, vhost })),
      topic_permissions: topic_permissions!.map((each) => ({ ...each, user: `${each.user}-${suffix}`, vhost })),
    });
  };

  afterEach(async () => {
    await ask("DELETE", `vhosts/${vhost}`);
    for (const user of users) await ask("DELETE", `users/${user}`);
  });

  it("have their passwords and the permissions of infra/rabbitmq, as often as one likes", async () => {
    await ask("PUT", `vhosts/${vhost}`);
    const password = 'back\\slash "quote" $HOME %s';
    for (let time = 0; time < 2; time++) {
      const { stdout } = await bash("broker.sh", { BROKER_ADMIN_URL: BROKER_ADMIN_URL!, BROKER_USERS: definitions(password) });
      expect(stdout).toBe("the users of the broker and their permissions are set up\n");
    }
    const granted = (await ask("GET", `vhosts/${vhost}/permissions`)).body.filter(({ user }: { user: string }) => user.endsWith(suffix));
    expect(granted.map(({ user, configure, read }: Record<string, string>) => [user, configure, read]).sort()).toEqual([
      [users[2], "^amq\\.gen-", "^(tandem\\.events$|amq\\.gen-)"],
      [users[1], "^$", "^(orders|invoices\\.order-canceled)$"],
      [users[0], "^$", "^orders\\.invoice-events$"],
    ]);
    // The password is the one of the secret: with it the user is known, and has no business in the management.
    expect((await ask("GET", "whoami", users[0], encodeURIComponent(password))).reason).toBe("Not management user");
    expect((await ask("GET", "whoami", users[0], "another")).reason).toBe("Login failed");
    expect([(await ask("GET", `users/${users[0]}`)).body.tags].flat().filter(Boolean)).toEqual([]);
  });

  it("fail without a word of the credentials when the broker says no", async () => {
    const wrong = new URL(BROKER_ADMIN_URL!);
    wrong.password = "wrong-password";
    const error: any = await bash("broker.sh", { BROKER_ADMIN_URL: wrong.href.replace(/\/$/, ""), BROKER_USERS: definitions("s3cret") }).catch((thrown) => thrown);
    expect([error.code, error.stderr]).toEqual([1, "the management API refused the users of the broker (401)\n"]);
  });
});

it("a permission for a service that is not there, or none for one that is, is an error before anything is planned", () => {
  expect(() => usersAndPermissions({ orders: "x", shipping: "y" })).toThrow(
    "infra/rabbitmq/permissions.json is about bff, invoices, orders, and the services are orders, shipping",
  );
});
