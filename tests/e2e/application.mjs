// The calls that applications make with supabase-js, in order; each answer as the application sees
// it. Run before the gateway and before PostgREST alone, the two lists have to be the same.
import { PostgrestClient } from "@supabase/postgrest-js";

const { URL: url, TOKEN: token, ORG: org, USER: user } = process.env;
const db = new PostgrestClient(url, { headers: { Authorization: `Bearer ${token}` } });
const events = () => db.from("events");
const projects = () => db.from("projects");

const calls = {
  all: () => events().select("*").order("id"),
  columns: () => events().select("id,name:title").order("id", { ascending: false }),
  toOne: () => events().select("id,projects(id,name)").order("id"),
  alias: () => events().select("id,project:projects(name)").order("id"),
  hint: () => events().select("id,projects!events_project_id_fkey(name)").order("id"),
  byColumn: () => events().select("id,project:project_id(name)").order("id"),
  inner: () => events().select("id,projects!inner(name)").eq("projects.status", "active").order("id"),
  spread: () => events().select("id,...projects(project:name)").order("id"),
  toMany: () => projects().select("id,name,events(id,title)").order("id"),
  nested: () => projects().select("id,events(id,projects(name))").order("id"),
  foreignOrder: () =>
    projects()
      .select("id,events(id)")
      .order("id")
      .order("id", { referencedTable: "events", ascending: false })
      .limit(1, { referencedTable: "events" }),
  foreignFilter: () => projects().select("id,events(id)").gte("events.capacity", 20).order("id"),
  foreignOr: () =>
    projects().select("id,events(id)").or("id.eq.1,capacity.gt.20", { referencedTable: "events" }).order("id"),
  byForeign: () => events().select("id,projects(name)").order("projects(name)", { ascending: false }).order("id"),
  withoutProject: () => projects().select("id,events()").is("events", null).order("id"),
  filters: () =>
    events().select("id").neq("id", 1).gt("capacity", 5).lte("capacity", 30).like("title", "%e%").order("id"),
  ilike: () => events().select("id").ilike("title", "%KICK%"),
  list: () => events().select("id").in("id", [1, 2, 4, 6]).order("id"),
  contains: () => events().select("id").contains("tags", ["ACME-ONLY-tag"]),
  json: () => events().select("id").contains("meta", { room: "ACME-ONLY-room" }),
  or: () => events().select("id").or("id.eq.1,and(capacity.gt.20,starts_at.is.null)").order("id"),
  not: () => events().select("id").not("starts_at", "is", null).order("id"),
  match: () => events().select("id").match({ capacity: 10 }),
  textSearch: () => events().select("id").textSearch("title", "kickoff"),
  range: () => events().select("id").order("id").range(1, 2),
  count: () => events().select("id", { count: "exact" }).order("id").limit(1),
  head: () => events().select("*", { count: "exact", head: true }),
  estimated: () => events().select("id", { count: "exact" }).eq("id", 4),
  single: () => events().select("id,title").eq("id", 1).single(),
  singleOfNone: () => events().select("id").eq("id", 4).single(),
  singleOfMany: () => events().select("id").single(),
  maybe: () => events().select("id").eq("id", 1).maybeSingle(),
  maybeNone: () => events().select("id").eq("id", 4).maybeSingle(),
  csv: () => events().select("id,title").order("id").csv(),
  call: () => db.rpc("search_events", { term: "kick" }).select("id,organization_id,title"),
  callByGet: () => db.rpc("search_events", { term: "e" }, { get: true }).order("id"),
  callCounted: () => db.rpc("search_events", { term: "e" }, { count: "exact", head: true, get: true }),
  insert: () =>
    events().insert({ organization_id: org, project_id: 1, title: "ACME-ONLY-new" }).select("id,title,projects(name)").single(),
  insertQuietly: () => projects().insert({ organization_id: org, name: "ACME-ONLY-quiet" }),
  insertMany: () =>
    projects()
      .insert([
        { organization_id: org, name: "ACME-ONLY-x" },
        { organization_id: org, name: "ACME-ONLY-y", notes: "ACME-ONLY-n" },
      ])
      .select("id,name,notes"),
  insertTwice: () => projects().insert({ id: 1, organization_id: org, name: "ACME-ONLY-twice" }),
  upsertNew: () =>
    db
      .from("profiles")
      .upsert({ user_id: user, organization_id: org, display_name: "ACME-ONLY-me" }, { onConflict: "user_id,organization_id" })
      .select(),
  upsertMany: () =>
    db
      .from("profiles")
      .upsert(
        [
          { user_id: user, organization_id: org, display_name: "ACME-ONLY-again" },
          { user_id: "00000000-0000-4000-8000-00000000000f", organization_id: org, display_name: "ACME-ONLY-f" },
        ],
        { onConflict: "organization_id,user_id" },
      )
      .select()
      .order("display_name"),
  ignore: () =>
    db
      .from("profiles")
      .upsert(
        { user_id: user, organization_id: org, display_name: "ACME-ONLY-ignored" },
        { onConflict: "user_id,organization_id", ignoreDuplicates: true },
      )
      .select(),
  update: () => events().update({ capacity: 99 }).eq("id", 1).select("id,capacity,projects(name)"),
  updateNone: () => events().update({ capacity: 99 }).eq("id", 4).select("id"),
  updateCounted: () => projects().update({ status: "done" }, { count: "exact" }).gt("id", 1),
  remove: () => events().delete().eq("id", 3).select("id,title"),
  removeNone: () => events().delete({ count: "exact" }).eq("id", 5),
  after: () => events().select("id,capacity,projects(name,status)").order("id"),
};

const answers = [];
for (const [name, call] of Object.entries(calls)) {
  const { data, error, status, count } = await call();
  const shown = error && { code: error.code, message: error.message };
  answers.push({ name, data, error: shown, status, count });
}
console.log(JSON.stringify(answers));
