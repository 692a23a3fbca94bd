// A session of supabase-js that is refreshed through gateways, one after the other: what the
// application is told, and whether it is still signed in.
import { createClient } from "@supabase/supabase-js";

const { URLS: urls, KEY: key, SESSION: session } = process.env;
const shown = (error) => error && { name: error.name, status: error.status };
const clock = Date.now;
const steps = [];
for (const url of urls.split(" ")) {
  const kept = new Map([["session", session]]);
  const storage = {
    getItem: (name) => kept.get(name) ?? null,
    setItem: (name, value) => kept.set(name, value),
    removeItem: (name) => kept.delete(name),
  };
  let seen;
  const fetchOnce = async (...request) => {
    // The client tries again for half a minute; here that time is over after one try.
    Date.now = () => clock() + 60_000;
    const answer = await fetch(...request);
    seen = { status: answer.status, retryAfter: answer.headers.get("retry-after") };
    return answer;
  };
  const client = createClient(url, key, {
    auth: { storage, storageKey: "session", autoRefreshToken: false },
    global: { fetch: fetchOnce },
  });
  await client.auth.initialize();
  const { error } = await client.auth.refreshSession();
  Date.now = clock;
  steps.push({ ...seen, error: shown(error), signedIn: kept.has("session") });
}
console.log(JSON.stringify(steps));
