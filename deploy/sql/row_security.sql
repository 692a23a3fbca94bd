-- Row-level security by the token that the gateway mints: what the policies that
-- `tollgate catalog rls` prints are made with. Part of its output; can be applied again.
--
-- PostgREST puts the claims of the token that it has verified into `request.jwt.claims`. The
-- gateway writes into that token only what it has proved: `sub`, `role`, `org_id`, `org_role`.

create schema if not exists tollgate;
grant usage on schema tollgate to public;

create or replace function tollgate.claims() returns jsonb
language sql stable set search_path = '' as $$
    select coalesce(nullif(current_setting('request.jwt.claims', true), ''), '{}')::jsonb
$$;

-- The organization that the gateway has proved the caller to act for; null without such a token,
-- which is equal to nothing.
create or replace function tollgate.organization_id() returns uuid
language sql stable set search_path = '' as $$
    select (tollgate.claims() ->> 'org_id')::uuid
$$;

-- The caller's role in that organization.
create or replace function tollgate.organization_role() returns text
language sql stable set search_path = '' as $$
    select tollgate.claims() ->> 'org_role'
$$;

grant execute on function
    tollgate.claims(), tollgate.organization_id(), tollgate.organization_role()
to public;

comment on function tollgate.claims() is
    'The claims of the verified token, as PostgREST has set them.';
comment on function tollgate.organization_id() is
    'The organization of the verified token, for row-level security: column = (select '
    'tollgate.organization_id()) is computed once for a statement.';
comment on function tollgate.organization_role() is
    'The role in the organization of the verified token.';

-- What follows changes tables. It does what its caller may do, and others may not call it.

create or replace function tollgate.column_list(names name[]) returns text
language sql immutable set search_path = '' as $$
    select string_agg(format('%I', name), ', ' order by place)
    from unnest(names) with ordinality listed(name, place)
$$;

create or replace function tollgate.column_names(relation regclass, numbers int2[]) returns name[]
language sql stable set search_path = '' as $$
    select array_agg(a.attname order by listed.place)
    from unnest(numbers) with ordinality listed(number, place)
    join pg_catalog.pg_attribute a on a.attrelid = relation and a.attnum = listed.number
$$;

-- Drops the policies that were made here before, and no others.
create or replace function tollgate.drop_policies(relation regclass) returns void
language plpgsql set search_path = '' as $$
declare
    made_here name;
begin
    for made_here in
        select polname from pg_catalog.pg_policy
        where polrelid = relation and starts_with(polname::text, 'tollgate_')
    loop
        execute format('drop policy %I on %s', made_here, relation);
    end loop;
end $$;

-- Makes an index unless one over all rows begins with these columns.
create or replace function tollgate.ensure_index(relation regclass, names name[]) returns void
language plpgsql set search_path = '' as $$
begin
    if exists (
        select from pg_catalog.pg_index i
        join pg_catalog.pg_class c on c.oid = i.indexrelid
        join pg_catalog.pg_am m on m.oid = c.relam
        where i.indrelid = relation and i.indisvalid and i.indpred is null and m.amname = 'btree'
            and i.indnkeyatts >= cardinality(names)
            and tollgate.column_names(relation, (i.indkey::int2[])[0:cardinality(names) - 1]) = names
    ) then
        return;
    end if;
    execute format('create index on %s (%s)', relation, tollgate.column_list(names));
end $$;

-- Makes a unique constraint unless these columns are unique already.
create or replace function tollgate.ensure_unique(relation regclass, names name[]) returns void
language plpgsql set search_path = '' as $$
begin
    if exists (
        select from pg_catalog.pg_index i
        where i.indrelid = relation and i.indisvalid and i.indisunique and i.indpred is null
            and i.indimmediate and i.indnkeyatts = cardinality(names)
            and tollgate.column_names(relation, (i.indkey::int2[])[0:i.indnkeyatts - 1]) @> names
    ) then
        return;
    end if;
    execute format('alter table %s add unique (%s)', relation, tollgate.column_list(names));
end $$;

-- Makes a foreign key hold the tenant, so that it cannot lead to another organization's row. It
-- keeps its name and what happens when the row it points to goes. Fails where a row leads to
-- another organization today.
create or replace function tollgate.confine_foreign_key(
    relation regclass, constraint_name name, tenant name, parent_tenant name
) returns void
language plpgsql set search_path = '' as $$
declare
    key pg_catalog.pg_constraint;
    own name[];
    theirs name[];
    on_delete text;
    on_update text;
begin
    select * into key from pg_catalog.pg_constraint
    where conrelid = relation and conname = constraint_name and contype = 'f';
    if not found then
        raise exception 'the table % has no foreign key %', relation, constraint_name;
    end if;
    own := tollgate.column_names(relation, key.conkey);
    theirs := tollgate.column_names(key.confrelid, key.confkey);
    if tenant = any (own) then
        return;
    end if;
    -- Only the columns that it had become null: the tenant stays.
    on_delete := case key.confdeltype
        when 'a' then 'no action'
        when 'r' then 'restrict'
        when 'c' then 'cascade'
        when 'n' then format('set null (%s)', tollgate.column_list(own))
        when 'd' then format('set default (%s)', tollgate.column_list(own))
    end;
    if key.confdeltype in ('n', 'd') and current_setting('server_version_num')::int < 150000 then
        raise exception 'the foreign key % of % is `on delete %`, which for one column of several '
            'needs PostgreSQL 15', constraint_name, relation, on_delete;
    end if;
    on_update := case key.confupdtype
        when 'a' then 'no action'
        when 'r' then 'restrict'
        when 'c' then 'cascade'
    end;
    if on_update is null then
        raise exception 'the foreign key % of % is `on update set null` or `set default`, which '
            'would change the tenant', constraint_name, relation;
    end if;
    perform tollgate.ensure_unique(key.confrelid::regclass, parent_tenant || theirs);
    execute format(
        'alter table %1$s drop constraint %2$I, add constraint %2$I foreign key (%3$s) '
        'references %4$s (%5$s) on update %6$s on delete %7$s %8$s',
        relation, constraint_name, tollgate.column_list(tenant || own), key.confrelid::regclass,
        tollgate.column_list(parent_tenant || theirs), on_update, on_delete,
        case
            when key.condeferred then 'deferrable initially deferred'
            when key.condeferrable then 'deferrable'
            else ''
        end);
end $$;

-- Lets a view run with the rights of who asks.
create or replace function tollgate.run_as_invoker(relation regclass) returns void
language plpgsql set search_path = '' as $$
begin
    if current_setting('server_version_num')::int < 150000 then
        raise exception 'the view % cannot run with the rights of who asks before PostgreSQL 15: '
            'take it out of the catalogue', relation;
    end if;
    execute format('alter view %s set (security_invoker = true)', relation);
end $$;

revoke all on function
    tollgate.column_list(name[]),
    tollgate.column_names(regclass, int2[]),
    tollgate.drop_policies(regclass),
    tollgate.ensure_index(regclass, name[]),
    tollgate.ensure_unique(regclass, name[]),
    tollgate.confine_foreign_key(regclass, name, name, name),
    tollgate.run_as_invoker(regclass)
from public;
