-- The rows as they are now, and a way back to them.
create schema kept;
do $$
declare name text;
begin
    for name in select tablename from pg_tables where schemaname = 'public' loop
        execute format('create table kept.%I as table public.%I', name, name);
    end loop;
end $$;
create function kept.restore() returns void language plpgsql as $$
declare name text;
begin
    set local session_replication_role = replica;
    for name in select tablename from pg_tables where schemaname = 'public' loop
        execute format('delete from public.%I', name);
        execute format('insert into public.%I overriding system value table kept.%I', name, name);
    end loop;
    for name in select sequencename from pg_sequences where schemaname = 'public' loop
        perform setval(format('public.%I', name)::regclass, 1001, false);
    end loop;
end $$;

-- Every row of the application and whose it is.
create view kept.owned as
select 'organizations' as home, id as owner, to_jsonb(r) as contents from public.organizations r
union all select 'profiles', organization_id, to_jsonb(r) from public.profiles r
union all select 'projects', organization_id, to_jsonb(r) from public.projects r
union all select 'events', organization_id, to_jsonb(r) from public.events r
union all select 'comments', e.organization_id, to_jsonb(r) from public.comments r left join public.events e on e.id = r.event_id
union all select 'mentions', e.organization_id, to_jsonb(r) from public.mentions r left join public.events e on e.id = r.event_id
union all select 'event_tags', e.organization_id, to_jsonb(r) from public.event_tags r left join public.events e on e.id = r.event_id
union all select 'staff', organization_id, to_jsonb(r) from public.staff r
union all select 'tags', organization_id, to_jsonb(r) from public.tags r
union all select 'settings', organization_id, to_jsonb(r) from public.settings r
union all select 'pages', organization_id, to_jsonb(r) from public.pages r
union all select 'templates', organization_id, to_jsonb(r) from public.templates r
union all select 'notes', organization_id, to_jsonb(r) from public.notes r
union all select 'tickets', organization_id, to_jsonb(r) from public.tickets r
union all select 'guarded', organization_id, to_jsonb(r) from public.guarded r
union all select 'secrets', organization_id, to_jsonb(r) from public.secrets r
union all select 'countries', null, to_jsonb(r) from public.countries r;
