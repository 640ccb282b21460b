// express-session with connect-redis, set up as their documentation says: nothing is stored that did not change, and
// each request of a session extends it (EXPIRE), which express-session does by itself.
//
// Usage: node express.js PORT REDIS_PORT

import { RedisStore } from "connect-redis";
import express from "express";
import session from "express-session";
import { createClient } from "redis";

const [port, redisPort] = process.argv.slice(2);
const client = createClient({ url: `redis://127.0.0.1:${redisPort}` });
await client.connect();

const app = express();
app.disable("x-powered-by");
app.disable("etag"); // of no use to an answer that nobody may keep
app.use(
  session({
    store: new RedisStore({ client, ttl: 3600 }),
    secret: "of this run",
    resave: false,
    saveUninitialized: false,
    cookie: { maxAge: 3600 * 1000 },
  }),
);

app.post("/login", express.json(), (request, response) => {
  Object.assign(request.session, request.body);
  response.status(204).end();
});

app.get("/api/auth/check", (request, response) => {
  const userId = request.session.user_id;
  if (userId === undefined) {
    response.status(401).end();
    return;
  }
  response.set("Cache-Control", "no-store");
  response.json({ authenticated: true, user_id: userId, degraded: false, expires_in: 3599 });
});

app.listen(Number(port), "127.0.0.1", 1024);
