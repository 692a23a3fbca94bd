// Reads a table through PostgREST itself, to show that the client and the fixture agree.
import { PostgrestClient } from "@supabase/postgrest-js";

const client = new PostgrestClient(process.env.URL, {
  headers: { Authorization: `Bearer ${process.env.TOKEN}` },
});
const { data, error, status } = await client.from("events").select("id,title").order("id");
console.log(JSON.stringify({ data, error, status }));
