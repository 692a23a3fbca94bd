// Sign-ins with supabase-js, one after the other: what the application is told of each.
import { createClient } from "@supabase/supabase-js";

const { URLS: urls, KEY: key, TRIES: tries } = process.env;
const clients = urls.split(" ").map((url) =>
  createClient(url, key, { auth: { autoRefreshToken: false, persistSession: false } }),
);
const answers = [];
for (const [turn, credentials] of JSON.parse(tries).entries()) {
  const { data, error } = await clients[turn % clients.length].auth.signInWithPassword(credentials);
  answers.push(error ? { status: error.status, code: error.code } : { user: data.user.id });
}
console.log(JSON.stringify(answers));
