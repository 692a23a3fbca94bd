// What an application does with supabase-js, unchanged, and what it must not get away with.
// Prints one JSON object: each step's { data, error, status, count }.
import { createClient } from "@supabase/supabase-js";

const { URL: url, KEY: key, TOKEN: token, OTHER_ORG: otherOrg, MARK: mark } = process.env;
const ids = JSON.parse(process.env.IDS);
const supabase = createClient(url, key, { accessToken: async () => token });

const steps = {};
const step = async (name, request) => {
  const { data, error, status, count } = await request;
  steps[name] = { data, error, status, count };
};

// The application's own work.
await step("select", supabase.from("events").select("*").order("id"));
await step("columns", supabase.from("events").select("id,title").gt("capacity", 10).order("id").limit(1));
await step("count", supabase.from("events").select("*", { count: "exact", head: true }));
await step("global", supabase.from("countries").select("*").order("code"));
await step(
  "insert",
  supabase.from("projects").insert({ name: `${mark}-made`, status: "active" }).select("id,name,organization_id").single(),
);
await step(
  "insertMany",
  supabase.from("projects").insert([{ name: `${mark}-a` }, { name: `${mark}-b`, notes: `${mark}-n` }]),
);
await step("update", supabase.from("projects").update({ status: "changed" }).eq("id", ids.ownProject).select("id,status"));
await step("delete", supabase.from("events").delete().eq("id", ids.ownEvent).select("id"));

// Reaching for the other organization.
await step("selectOther", supabase.from("events").select("*").eq("organization_id", otherOrg));
await step("selectOtherById", supabase.from("projects").select("*").eq("id", ids.otherProject));
await step("selectOr", supabase.from("projects").select("*").or(`organization_id.eq.${otherOrg},id.gt.0`));
await step("insertOther", supabase.from("projects").insert({ name: `${mark}-stray`, organization_id: otherOrg }));
await step("updateOther", supabase.from("projects").update({ status: "hijacked" }).eq("id", ids.otherProject).select("id"));
await step("updateAll", supabase.from("events").update({ capacity: 77 }).gt("id", 0).select("id"));
await step("giveAway", supabase.from("events").update({ organization_id: otherOrg }).gt("id", 0));
await step("deleteOther", supabase.from("events").delete().eq("id", ids.otherEvent).select("id"));
await step("upsertOther", supabase.from("projects").upsert({ id: ids.otherProject, name: `${mark}-taken` }));
await step("embed", supabase.from("projects").select("id,events(*)"));
await step("rpc", supabase.rpc("count_events"));
await step("searchRpc", supabase.rpc("search_events", { term: "kick" }));
await step("view", supabase.from("project_events").select("*"));
await step("secrets", supabase.from("secrets").select("*"));
await step("csv", supabase.from("events").select("*").csv());

console.log(JSON.stringify(steps));
