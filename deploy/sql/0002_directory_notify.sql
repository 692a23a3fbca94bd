-- Tells gateways at once what changed: `org:<uuid>`, `user:<sub>` or `all` on the channel
-- `tollgate_directory`. Without it a change counts after the time to live of an entry.
-- PostgreSQL sends a notification when the transaction commits, and equal ones only once.

create or replace function tollgate.notify_organization() returns trigger
language plpgsql set search_path = '' as $$
begin
    if tg_op <> 'INSERT' then
        perform pg_catalog.pg_notify('tollgate_directory', 'org:' || old.id);
    end if;
    if tg_op <> 'DELETE' then
        perform pg_catalog.pg_notify('tollgate_directory', 'org:' || new.id);
    end if;
    return null;
end
$$;

create or replace function tollgate.notify_member() returns trigger
language plpgsql set search_path = '' as $$
begin
    if tg_op <> 'INSERT' then
        perform pg_catalog.pg_notify('tollgate_directory', 'user:' || old.user_id);
    end if;
    if tg_op <> 'DELETE' then
        perform pg_catalog.pg_notify('tollgate_directory', 'user:' || new.user_id);
    end if;
    return null;
end
$$;

create or replace function tollgate.notify_feature() returns trigger
language plpgsql set search_path = '' as $$
begin
    if tg_op <> 'INSERT' then
        perform pg_catalog.pg_notify('tollgate_directory', 'org:' || old.organization_id);
    end if;
    if tg_op <> 'DELETE' then
        perform pg_catalog.pg_notify('tollgate_directory', 'org:' || new.organization_id);
    end if;
    return null;
end
$$;

create or replace function tollgate.notify_all() returns trigger
language plpgsql set search_path = '' as $$
begin
    perform pg_catalog.pg_notify('tollgate_directory', 'all');
    return null;
end
$$;

create or replace trigger notify after insert or update or delete on tollgate.organizations
    for each row execute function tollgate.notify_organization();
create or replace trigger notify after insert or update or delete on tollgate.organization_members
    for each row execute function tollgate.notify_member();
create or replace trigger notify after insert or update or delete on tollgate.organization_features
    for each row execute function tollgate.notify_feature();

create or replace trigger notify_truncate after truncate on tollgate.organizations
    for each statement execute function tollgate.notify_all();
create or replace trigger notify_truncate after truncate on tollgate.organization_members
    for each statement execute function tollgate.notify_all();
create or replace trigger notify_truncate after truncate on tollgate.organization_features
    for each statement execute function tollgate.notify_all();
