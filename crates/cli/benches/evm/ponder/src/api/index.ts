// GET /count: how many events are stored.
import { Hono } from "hono";
import { count } from "ponder";
import { db } from "ponder:api";
import { transfer } from "ponder:schema";

const app = new Hono();
app.get("/count", async (c) => c.text(String((await db.select({ count: count() }).from(transfer))[0].count)));
export default app;
