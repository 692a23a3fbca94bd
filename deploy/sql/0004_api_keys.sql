-- Keys of machines: what `tollgate keys` writes and gateways look up by id. Of a secret only a hash
-- is kept, keyed with the pepper of the gateway's configuration.

create table if not exists tollgate.api_keys (
    -- The first part of the key, which is no secret.
    id text primary key
        constraint api_keys_id_is_of_a_key check (id ~ '^tgk_[0-9A-Za-z]{12}$'),
    organization_id uuid not null
        references tollgate.organizations (id) on delete cascade,
    name text not null
        constraint api_keys_name_is_named check (name <> ''),
    hash text not null
        constraint api_keys_hash_is_one check (hash ~ '^[0-9a-f]{64}$'),
    -- The secret before a rotation, which counts until then.
    previous_hash text
        constraint api_keys_previous_hash_is_one check (previous_hash ~ '^[0-9a-f]{64}$'),
    previous_until timestamptz,
    -- `resource:action`; either side may be `*`.
    scopes text[] not null
        constraint api_keys_scopes_are_there check (cardinality(scopes) > 0),
    -- Networks from which the key may be used; none: from all.
    addresses cidr[] not null default '{}',
    -- A limit of the gateway's policies that is charged besides those of the route.
    limit_name text
        constraint api_keys_limit_is_named check (limit_name <> ''),
    status text not null default 'active'
        constraint api_keys_status_is_known check (status in ('active', 'revoked')),
    expires_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint api_keys_previous_is_whole
        check ((previous_hash is null) = (previous_until is null))
);

-- A name may be used again once its key is revoked.
create unique index if not exists api_keys_of_organization
    on tollgate.api_keys (organization_id, name) where status = 'active';

-- Apart from the keys, so that a use changes nothing that gateways remember. Written by gateways,
-- where they may: at most once a minute for each key.
create table if not exists tollgate.api_key_uses (
    key_id text primary key references tollgate.api_keys (id) on delete cascade,
    last_used_at timestamptz not null
);

create or replace function tollgate.notify_api_key() returns trigger
language plpgsql set search_path = '' as $$
begin
    if tg_op <> 'INSERT' then
        perform pg_catalog.pg_notify('tollgate_directory', 'key:' || old.id);
    end if;
    if tg_op <> 'DELETE' then
        perform pg_catalog.pg_notify('tollgate_directory', 'key:' || new.id);
    end if;
    return null;
end
$$;

create or replace trigger touch before update on tollgate.api_keys
    for each row execute function tollgate.touch();
create or replace trigger notify after insert or update or delete on tollgate.api_keys
    for each row execute function tollgate.notify_api_key();
create or replace trigger notify_truncate after truncate on tollgate.api_keys
    for each statement execute function tollgate.notify_all();
