-- The directory: organizations, their members, their features.
--
-- Everything is in a schema of its own, so that it can live beside an application in one database
-- and is not in reach of PostgREST, which serves other schemas. The gateway only reads it.

create schema if not exists tollgate;

create table if not exists tollgate.organizations (
    id uuid primary key default gen_random_uuid(),
    -- A DNS label (RFC 1123). What could also be read as an id is not a slug.
    slug text not null unique
        constraint organizations_slug_is_a_label
            check (slug ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$')
        constraint organizations_slug_is_no_id
            check (slug !~ '^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$'),
    name text not null default '',
    status text not null default 'active'
        constraint organizations_status_is_known check (status in ('active', 'suspended')),
    -- The name of a plan in the gateway's policies.
    plan text not null default 'free',
    settings jsonb not null default '{}'
        constraint organizations_settings_are_an_object check (jsonb_typeof(settings) = 'object'),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table if not exists tollgate.organization_members (
    organization_id uuid not null
        references tollgate.organizations (id) on delete cascade,
    -- The `sub` of the user's tokens: a UUID for Supabase Auth, any short text elsewhere.
    user_id text not null
        constraint organization_members_user_is_printable check (user_id ~ '^[!-~]{1,255}$'),
    -- The name of a role in the gateway's policies.
    role text not null
        constraint organization_members_role_is_named check (role <> ''),
    status text not null default 'active'
        constraint organization_members_status_is_known
            check (status in ('active', 'invited', 'suspended')),
    joined_at timestamptz not null default now(),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (organization_id, user_id)
);

-- The default membership: the most recently joined one.
create index if not exists organization_members_of_user
    on tollgate.organization_members (user_id, joined_at desc, organization_id);

create table if not exists tollgate.organization_features (
    organization_id uuid not null
        references tollgate.organizations (id) on delete cascade,
    feature text not null
        constraint organization_features_feature_is_named check (feature <> ''),
    enabled boolean not null default true,
    updated_at timestamptz not null default now(),
    primary key (organization_id, feature)
);

create or replace function tollgate.touch() returns trigger
language plpgsql set search_path = '' as $$
begin
    new.updated_at := now();
    return new;
end
$$;

create or replace trigger touch before update on tollgate.organizations
    for each row execute function tollgate.touch();
create or replace trigger touch before update on tollgate.organization_members
    for each row execute function tollgate.touch();
create or replace trigger touch before update on tollgate.organization_features
    for each row execute function tollgate.touch();
